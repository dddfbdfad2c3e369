#include "base64.hpp"

#include <array>
#include <cstdint>

namespace manta::server {
namespace {

constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
// Above any value of 24 bits, so that one test tells whether any of four letters was wrong.
constexpr std::uint32_t kInvalid = 1U << 24U;

using Table = std::array<std::uint32_t, 256>;

constexpr Table table(unsigned shift) {
  Table values{};
  for (auto& value : values) value = kInvalid;
  for (std::uint32_t i = 0; i < kAlphabet.size(); ++i) {
    values[static_cast<unsigned char>(kAlphabet[i])] = i << shift;
  }
  return values;
}

// One table for each of four letters: their values are already where they belong in the 24 bits.
constexpr Table kFirst = table(18);
constexpr Table kSecond = table(12);
constexpr Table kThird = table(6);
constexpr Table kFourth = table(0);

std::uint32_t bits_of(const unsigned char* four) {
  return kFirst[four[0]] | kSecond[four[1]] | kThird[four[2]] | kFourth[four[3]];
}

}  // namespace

bool decode_base64(std::string_view text, std::string& bytes) {
  bytes.clear();
  if (text.size() % 4 != 0) return false;
  if (text.empty()) return true;
  const std::size_t padding = text.back() != '=' ? 0 : text[text.size() - 2] != '=' ? 1 : 2;
  const std::size_t whole = padding == 0 ? text.size() : text.size() - 4;
  bytes.resize(text.size() / 4 * 3 - padding);
  const auto* from = reinterpret_cast<const unsigned char*>(text.data());
  auto* to = reinterpret_cast<unsigned char*>(bytes.data());
  std::uint32_t seen = 0;
  for (const auto* end = from + whole; from != end; from += 4, to += 3) {
    const std::uint32_t bits = bits_of(from);
    seen |= bits;
    to[0] = static_cast<unsigned char>(bits >> 16U);
    to[1] = static_cast<unsigned char>(bits >> 8U);
    to[2] = static_cast<unsigned char>(bits);
  }
  if (padding > 0) {
    const std::uint32_t bits = kFirst[from[0]] | kSecond[from[1]] | (padding == 1 ? kThird[from[2]] : 0);
    seen |= bits;
    to[0] = static_cast<unsigned char>(bits >> 16U);
    if (padding == 1) to[1] = static_cast<unsigned char>(bits >> 8U);
  }
  return (seen & kInvalid) == 0;
}

}  // namespace manta::server
