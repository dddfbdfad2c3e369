// Text from outside, as it can be shown.
#pragma once

#include <string>
#include <string_view>

namespace manta::program {

// As it may stand in JSON: what is no UTF-8 becomes U+FFFD.
[[nodiscard]] std::string printable(std::string_view text);

}  // namespace manta::program
