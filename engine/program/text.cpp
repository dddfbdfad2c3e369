#include "text.hpp"

#include <simdjson.h>

namespace manta::program {

std::string printable(std::string_view text) {
  if (simdjson::validate_utf8(text.data(), text.size())) return std::string(text);
  constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
  std::string copy;
  for (const char letter : text) {
    if (static_cast<unsigned char>(letter) > 127) {
      copy += kReplacement;
    } else {
      copy += letter;
    }
  }
  return copy;
}

}  // namespace manta::program
