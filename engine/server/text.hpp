// What clients sent, as it can be compared and shown.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "program/text.hpp"

namespace manta::server {

// With a comma after every three digits.
[[nodiscard]] std::string grouped(std::size_t number);

// ASCII letters made small.
[[nodiscard]] std::string lower(std::string_view text);

// Without spaces and tabs at both ends.
[[nodiscard]] std::string_view trimmed(std::string_view text);

// At most so many letters of UTF-8.
[[nodiscard]] std::string_view first_letters(std::string_view text, std::size_t most);

using program::printable;

// In messages: the first `most` letters in quotes, as Python's repr() writes them.
[[nodiscard]] std::string quoted(std::string_view text, std::size_t most);

}  // namespace manta::server
