#pragma once

#include <string>
#include <string_view>

namespace manta {

// In hexadecimal.
[[nodiscard]] std::string sha256(std::string_view data);

}  // namespace manta
