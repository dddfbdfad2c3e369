#pragma once

#include <string>
#include <string_view>

namespace manta::server {

// RFC 4648 with padding, and nothing else: no line breaks, no other letters. False when `text` is not that.
// `bytes` is overwritten; its memory is used again.
[[nodiscard]] bool decode_base64(std::string_view text, std::string& bytes);

}  // namespace manta::server
