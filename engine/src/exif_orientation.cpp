#include "exif_orientation.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace manta {
namespace {

constexpr std::uint8_t kHasExif = 0x08;
constexpr std::uint16_t kOrientationTag = 0x112;
constexpr std::uint16_t kTiffMagic = 42;
constexpr std::size_t kEntryBytes = 12;
constexpr int kUpright = 1;
constexpr std::uint8_t kFill = 0xFF;
constexpr std::uint8_t kApplication1 = 0xE1;
constexpr std::uint8_t kScan = 0xDA;
constexpr std::string_view kExif("Exif\0\0", 6);

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

// `tiff`: the content of an EXIF chunk. Of several entries the first one counts, whatever type it claims. Nothing when
// it has none.
std::optional<int> tiff_orientation(std::string_view tiff) noexcept {
  const bool big_endian = tiff.substr(0, 2) == "MM";
  if (!big_endian && tiff.substr(0, 2) != "II") return std::nullopt;
  if (integer(tiff, 2, 2, big_endian) != kTiffMagic) return std::nullopt;
  const std::size_t directory = integer(tiff, 4, 4, big_endian);
  const std::size_t entries = integer(tiff, directory, 2, big_endian);
  for (std::size_t i = 0; i < entries; ++i) {
    const std::size_t entry = directory + 2 + i * kEntryBytes;
    if (entry + kEntryBytes > tiff.size()) break;
    if (integer(tiff, entry, 2, big_endian) != kOrientationTag) continue;
    const auto value = static_cast<int>(integer(tiff, entry + 8, 2, big_endian));
    return value >= 1 && value <= 8 ? value : kUpright;
  }
  return std::nullopt;
}

// Of several segments with EXIF data the first one that has an orientation counts.
int jpeg_orientation(std::string_view file) noexcept {
  std::size_t position = 2;
  while (position < file.size()) {
    position = std::min(file.find('\xff', position), file.size());
    while (integer(file, position, 1, true) == kFill) ++position;
    const std::uint32_t marker = integer(file, position, 1, true);
    ++position;
    const bool has_no_length = marker <= 0x01 || (marker >= 0xD0 && marker <= 0xD8);
    if (has_no_length) continue;
    if (marker == kScan) break;
    const std::size_t length = std::max<std::size_t>(integer(file, position, 2, true), 2);
    if (length > file.size() || position > file.size() - length) break;
    const std::string_view content = file.substr(position + 2, length - 2);
    if (marker == kApplication1 && content.substr(0, kExif.size()) == kExif) {
      if (const auto orientation = tiff_orientation(content.substr(kExif.size()))) return *orientation;
    }
    position += length;
  }
  return kUpright;
}

int webp_orientation(std::string_view file) noexcept {
  // Only the extended format has metadata, and says in its flags which.
  if (file.size() < 30 || file.substr(12, 4) != "VP8X" || (integer(file, 20, 1, true) & kHasExif) == 0) return kUpright;
  std::size_t position = 12;
  while (position + 8 <= file.size()) {
    const std::size_t size = integer(file, position + 4, 4, false);
    if (file.substr(position, 4) == "EXIF") return tiff_orientation(file.substr(position + 8, size)).value_or(kUpright);
    position += 8 + size + size % 2;
  }
  return kUpright;
}

}  // namespace

int exif_orientation(ByteView data, ImageFormat format) noexcept {
  if (format == ImageFormat::jpeg) return jpeg_orientation(data.text());
  return format == ImageFormat::webp ? webp_orientation(data.text()) : kUpright;
}

}  // namespace manta
