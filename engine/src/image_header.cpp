// Mirrors app/image_header.py: pure byte reading, in front of every decoder.
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <string>

#include "manta/errors.hpp"
#include "manta/image.hpp"

namespace manta {
namespace {

constexpr std::string_view kPngSignature("\x89PNG\r\n\x1a\n", 8);
constexpr std::uint8_t kJpegFirstSegment = 0xC0;
constexpr std::uint8_t kJpegScan = 0xDA;
constexpr std::uint8_t kJpegEnd = 0xD9;
// A scan may be a dozen bytes, and costs the decoder a pass over the whole image. Progressive files have 10 to 20.
constexpr int kMostJpegScans = 100;
constexpr std::uint32_t kBmpRgb = 0;
constexpr std::uint32_t kBmpBitfields = 3;
constexpr std::size_t kBmpMasksAt = 54;
constexpr std::uint8_t kWebpAnimation = 0x02;

// The data ended where more was needed.
struct CutOff {};

// Reads integers at positions; throws CutOff beyond the end.
class Reader {
 public:
  explicit Reader(ByteView data) : data_(data) {}

  [[nodiscard]] std::size_t size() const { return data_.size(); }

  [[nodiscard]] std::uint8_t u8(std::size_t at) const { return *pointer(at, 1); }

  [[nodiscard]] std::uint32_t big(std::size_t at, std::size_t bytes) const {
    check(at, bytes);
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < bytes; ++i) value = value << 8U | data_.data()[at + i];
    return value;
  }

  [[nodiscard]] std::uint32_t little(std::size_t at, std::size_t bytes) const {
    check(at, bytes);
    std::uint32_t value = 0;
    for (std::size_t i = bytes; i > 0; --i) value = value << 8U | data_.data()[at + i - 1];
    return value;
  }

  // Up to `count` bytes; fewer at the end of the data.
  [[nodiscard]] std::string_view text(std::size_t at, std::size_t count) const {
    return at < size() ? data_.text().substr(at, count) : std::string_view();
  }

  // Position of `byte` at or after `at`.
  [[nodiscard]] std::size_t find(std::uint8_t byte, std::size_t at) const {
    if (at >= size()) throw CutOff();
    const void* found = std::memchr(data_.data() + at, byte, size() - at);
    if (found == nullptr) throw CutOff();
    return static_cast<std::size_t>(static_cast<const std::uint8_t*>(found) - data_.data());
  }

  [[nodiscard]] const std::uint8_t* pointer(std::size_t at, std::size_t count) const {
    check(at, count);
    return data_.data() + at;
  }

 private:
  void check(std::size_t at, std::size_t count) const {
    if (at > size() || count > size() - at) throw CutOff();
  }

  ByteView data_;
};

ImageHeader sized(ImageFormat format, std::int64_t width, std::int64_t height, std::size_t read_to = 0) {
  if (width < 1 || height < 1) {
    throw BadImage("the " + std::string(upper_name(format)) + " header declares a size of " + std::to_string(width) +
                   "x" + std::to_string(height) + " pixels");
  }
  return {format, width, height, read_to};
}

bool starts_a_frame(std::uint8_t marker) {  // C0 to CF without C4 (Huffman tables), C8 (reserved), CC (coding tables)
  return marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
}

// The next marker's code; `position` moves behind it.
std::uint8_t next_jpeg_marker(const Reader& data, std::size_t& position) {
  position = data.find(0xFF, position);
  while (data.u8(position) == 0xFF) ++position;  // any number of fill bytes may stand before a marker
  return data.u8(position++);
}

std::size_t after_jpeg_segment(const Reader& data, std::uint8_t marker, std::size_t position) {
  const bool has_no_length = marker <= 0x01 || (marker >= 0xD0 && marker <= 0xD8);
  if (has_no_length) return position;
  return position + std::max<std::size_t>(data.big(position, 2), 2);
}

ImageHeader jpeg_header(const Reader& data) {
  std::size_t position = 2;
  while (true) {
    const std::uint8_t marker = next_jpeg_marker(data, position);
    if (starts_a_frame(marker)) {
      const auto height = data.big(position + 3, 2);
      const auto width = data.big(position + 5, 2);
      return sized(ImageFormat::jpeg, width, height, after_jpeg_segment(data, marker, position));
    }
    if (marker == kJpegScan || marker == kJpegEnd) throw BadImage("the JPEG image has no frame header");
    position = after_jpeg_segment(data, marker, position);
  }
}

bool has_jpeg_end(const Reader& data, std::size_t position) {
  // Scan data escapes 0xFF, so this pair can only be the end marker. Bytes behind it are common and harmless.
  while (true) {
    position = data.find(0xFF, position) + 1;
    if (data.u8(position) == kJpegEnd) return true;
  }
}

// `position`: in the first scan.
bool has_too_many_jpeg_scans(const Reader& data, std::size_t position) {
  int scans = 1;
  try {
    while (scans <= kMostJpegScans) {
      const std::uint8_t marker = next_jpeg_marker(data, position);
      if (marker == kJpegEnd) return false;
      if (marker == kJpegScan) ++scans;
      // What is no segment is taken for scan data, as the decoder does.
      if (marker >= kJpegFirstSegment) position = after_jpeg_segment(data, marker, position);
    }
  } catch (const CutOff&) {
    return false;
  }
  return true;
}

bool jpeg_whole(const Reader& data, const ImageHeader& header) {
  std::size_t position = header.read_to;
  std::uint8_t marker = 0;
  while (marker != kJpegScan) {
    marker = next_jpeg_marker(data, position);
    position = after_jpeg_segment(data, marker, position);
  }
  if (!has_jpeg_end(data, position)) return false;
  if (has_too_many_jpeg_scans(data, position)) {
    throw BadImage("the JPEG image has more than " + std::to_string(kMostJpegScans) + " scans");
  }
  return true;
}

ImageHeader png_header(const Reader& data) {
  const auto length = data.big(8, 4);
  const auto height = data.big(20, 4);
  if (data.text(12, 4) != "IHDR" || length != 13) throw BadImage("the PNG image does not start with its header chunk");
  return sized(ImageFormat::png, data.big(16, 4), height);
}

bool png_whole(const Reader& data) {
  std::size_t position = 8;
  while (true) {
    const std::size_t length = data.big(position, 4);
    const std::string_view kind = data.text(position + 4, 4);
    const std::size_t after = position + 8 + length;
    const auto checksum = data.big(after, 4);
    // A lower-case first letter marks a chunk that readers may ignore, damaged or not.
    if (static_cast<std::uint8_t>(kind[0]) < 0x61 &&
        crc32_z(0, data.pointer(position + 4, length + 4), length + 4) != checksum) {
      return false;
    }
    if (kind == "IEND") return true;
    if (kind == "acTL") throw BadImage("the PNG image is an animation");
    position = after + 4;
  }
}

ImageHeader bmp_header(const Reader& data) {
  if (data.little(14, 4) == 12) return sized(ImageFormat::bmp, data.little(18, 2), data.little(20, 2));
  const std::int64_t height = static_cast<std::int32_t>(data.little(22, 4));  // negative: rows from top to bottom
  return sized(ImageFormat::bmp, static_cast<std::int32_t>(data.little(18, 4)), std::abs(height));
}

bool has_usual_bmp_masks(const Reader& data, std::int64_t header_size, std::int64_t bits) {
  using Masks = std::array<std::uint32_t, 3>;
  const Masks masks = {data.little(kBmpMasksAt, 4), data.little(kBmpMasksAt + 4, 4), data.little(kBmpMasksAt + 8, 4)};
  if (bits == 32) return masks == Masks{0xFF0000, 0xFF00, 0xFF};
  return bits == 16 && header_size == 40 &&
         (masks == Masks{0x7C00, 0x3E0, 0x1F} || masks == Masks{0xF800, 0x7E0, 0x1F});
}

bool bmp_whole(const Reader& data, const ImageHeader& header) {
  const std::int64_t offset = data.little(10, 4);
  const std::int64_t header_size = data.little(14, 4);
  const bool is_old = header_size == 12;
  const std::int64_t bits = data.little(is_old ? 24 : 28, 2);
  const std::uint32_t compression = is_old ? kBmpRgb : data.little(30, 4);
  if (compression != kBmpRgb && compression != kBmpBitfields) {
    return true;  // run-length coded rows have no known length; the decoder reports a missing end
  }
  if (compression == kBmpBitfields && !has_usual_bmp_masks(data, header_size, bits)) {
    throw BadImage("the BMP image has unusual colour masks");
  }
  const std::int64_t row_bytes = (header.width * bits + 31) / 32 * 4;
  // Compared without multiplying: both factors come from the file.
  const std::int64_t room = static_cast<std::int64_t>(data.size()) - offset;
  return offset >= 14 + header_size && room >= 0 && (row_bytes == 0 || header.height <= room / row_bytes);
}

ImageHeader webp_header(const Reader& data) {
  const std::string_view kind = data.text(12, 4);
  if (kind == "VP8 " && data.text(23, 3) == "\x9d\x01\x2a") {
    return sized(ImageFormat::webp, data.little(26, 2) & 0x3FFFU, data.little(28, 2) & 0x3FFFU);
  }
  if (kind == "VP8L" && data.text(20, 1) == "\x2f") {
    const auto bits = data.little(21, 4);
    return sized(ImageFormat::webp, (bits & 0x3FFFU) + 1, (bits >> 14U & 0x3FFFU) + 1);
  }
  if (kind == "VP8X") {
    return sized(ImageFormat::webp, std::int64_t{data.little(24, 3)} + 1, std::int64_t{data.little(27, 3)} + 1);
  }
  throw BadImage("the WebP image has no frame header");
}

bool webp_whole(const Reader& data) {
  if (data.text(12, 4) == "VP8X" && (data.u8(20) & kWebpAnimation) != 0) {
    throw BadImage("the WEBP image is an animation");
  }
  return std::uint64_t{8} + data.little(4, 4) <= data.size();
}

bool is_whole(const Reader& data, const ImageHeader& header) {
  switch (header.format) {
    case ImageFormat::jpeg:
      return jpeg_whole(data, header);
    case ImageFormat::png:
      return png_whole(data);
    case ImageFormat::bmp:
      return bmp_whole(data, header);
    case ImageFormat::webp:
      return webp_whole(data);
  }
  return false;
}

}  // namespace

std::string_view upper_name(ImageFormat format) noexcept {
  constexpr std::array<std::string_view, 4> kNames = {"JPEG", "PNG", "BMP", "WEBP"};
  return kNames[static_cast<std::size_t>(format)];
}

bool has_image_signature(ByteView data) noexcept {
  const std::string_view text = data.text();
  return text.substr(0, 3) == "\xff\xd8\xff" || text.substr(0, 8) == kPngSignature || text.substr(0, 2) == "BM" ||
         (text.substr(0, 4) == "RIFF" && text.size() >= 12 && text.substr(8, 4) == "WEBP");
}

ImageHeader read_header(ByteView data) {
  const Reader reader(data);
  try {
    if (reader.text(0, 3) == "\xff\xd8\xff") return jpeg_header(reader);
    if (reader.text(0, 8) == kPngSignature) return png_header(reader);
    if (reader.text(0, 4) == "RIFF" && reader.text(8, 4) == "WEBP") return webp_header(reader);
    if (reader.text(0, 2) == "BM") return bmp_header(reader);
  } catch (const CutOff&) {
    throw BadImage("the image is cut off within its header");
  }
  throw BadImage(data.empty() ? "the image is empty" : "not a JPEG, PNG, BMP or WebP image");
}

void check_whole(ByteView data, const ImageHeader& header) {
  bool whole = false;
  try {
    whole = is_whole(Reader(data), header);
  } catch (const CutOff&) {
    whole = false;
  }
  if (!whole) throw BadImage("the " + std::string(upper_name(header.format)) + " image is cut off or damaged");
}

}  // namespace manta
