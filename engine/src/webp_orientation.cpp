#include "webp_orientation.hpp"

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace manta {
namespace {

constexpr std::uint8_t kHasExif = 0x08;
constexpr std::uint16_t kOrientationTag = 0x112;
constexpr std::uint16_t kTiffMagic = 42;
constexpr std::size_t kEntryBytes = 12;
constexpr int kUpright = 1;

// An integer in either byte order; 0 beyond the end.
std::uint32_t integer(std::string_view data, std::size_t at, std::size_t bytes, bool big_endian) noexcept {
  if (at > data.size() || bytes > data.size() - at) return 0;
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < bytes; ++i) {
    const std::size_t from = big_endian ? at + i : at + bytes - 1 - i;
    value = value << 8U | static_cast<std::uint8_t>(data[from]);
  }
  return value;
}

// `tiff`: the content of an EXIF chunk. Of several entries the first one counts, whatever type it claims.
int tiff_orientation(std::string_view tiff) noexcept {
  const bool big_endian = tiff.substr(0, 2) == "MM";
  if (!big_endian && tiff.substr(0, 2) != "II") return kUpright;
  if (integer(tiff, 2, 2, big_endian) != kTiffMagic) return kUpright;
  const std::size_t directory = integer(tiff, 4, 4, big_endian);
  const std::size_t entries = integer(tiff, directory, 2, big_endian);
  for (std::size_t i = 0; i < entries; ++i) {
    const std::size_t entry = directory + 2 + i * kEntryBytes;
    if (entry + kEntryBytes > tiff.size()) break;
    if (integer(tiff, entry, 2, big_endian) != kOrientationTag) continue;
    const auto value = static_cast<int>(integer(tiff, entry + 8, 2, big_endian));
    return value >= 1 && value <= 8 ? value : kUpright;
  }
  return kUpright;
}

}  // namespace

int webp_orientation(ByteView data) noexcept {
  const std::string_view file = data.text();
  // Only the extended format has metadata, and says in its flags which.
  if (file.size() < 30 || file.substr(12, 4) != "VP8X" || (data.data()[20] & kHasExif) == 0) return kUpright;
  std::size_t position = 12;
  while (position + 8 <= file.size()) {
    const std::size_t size = integer(file, position + 4, 4, false);
    if (file.substr(position, 4) == "EXIF") return tiff_orientation(file.substr(position + 8, size));
    position += 8 + size + size % 2;
  }
  return kUpright;
}

}  // namespace manta
