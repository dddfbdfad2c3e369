#include "text.hpp"

#include <algorithm>
#include <cctype>

namespace manta::server {

std::string grouped(std::size_t number) {
  std::string text = std::to_string(number);
  for (std::size_t place = text.size(); place > 3; place -= 3) text.insert(place - 3, 1, ',');
  return text;
}

std::string lower(std::string_view text) {
  std::string copy(text);
  std::transform(copy.begin(), copy.end(), copy.begin(),
                 [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  return copy;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

std::string_view first_letters(std::string_view text, std::size_t most) {
  std::size_t end = 0;
  for (; end < text.size(); ++end) {
    const bool begins_a_letter = (static_cast<unsigned char>(text[end]) & 0xC0U) != 0x80U;
    if (begins_a_letter && most-- == 0) break;
  }
  return text.substr(0, end);
}

std::string quoted(std::string_view text, std::size_t most) {
  const std::string shown = printable(first_letters(text, most));
  const bool has_quote = shown.find('\'') != std::string::npos && shown.find('"') == std::string::npos;
  const char mark = has_quote ? '"' : '\'';
  std::string copy(1, mark);
  for (const char letter : shown) {
    if (letter == '\\' || letter == mark) copy += '\\';
    copy += letter;
  }
  return copy + mark;
}

}  // namespace manta::server
