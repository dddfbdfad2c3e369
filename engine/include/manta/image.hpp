// Encoded bytes -> uint8 RGB: the decode and resize rule of app/imaging.py and app/image_header.py, mirrored.
#pragma once

#include <cstddef>
#include <cstdint>
#include <opencv2/core/mat.hpp>
#include <string_view>

#include "manta/bytes.hpp"
#include "manta/export.hpp"
#include "manta/options.hpp"

namespace manta {

// Name of the one resize rule: stretch, INTER_AREA when the target has fewer pixels, else INTER_LINEAR.
inline constexpr std::string_view kResizeRule = "stretch-area-linear";

enum class ImageFormat { jpeg, png, bmp, webp };

// The order of a cv::Mat's three channels. OpenCV's own functions give bgr.
enum class ChannelOrder { bgr, rgb };

// What the file says of itself: pixels as stored, before EXIF orientation.
struct ImageHeader {
  ImageFormat format;
  std::int64_t width;
  std::int64_t height;
  // Bytes that were looked at, from where the search for the end of a JPEG goes on.
  std::size_t read_to;
};

// Upright, in pixels.
struct ImageSize {
  int height = 0;
  int width = 0;
};

[[nodiscard]] MANTA_ENGINE_EXPORT std::string_view upper_name(ImageFormat format) noexcept;

// Whether the first bytes are those of a JPEG, PNG, BMP or WebP image.
[[nodiscard]] MANTA_ENGINE_EXPORT bool has_image_signature(ByteView data) noexcept;

// Format and size. Throws BadImage for anything but a JPEG, PNG, BMP or WebP image.
[[nodiscard]] MANTA_ENGINE_EXPORT ImageHeader read_header(ByteView data);

// Throws BadImage when the file ends before its image does (decoders do not tell, they fill the rest with grey), and
// for what must not reach a decoder: an animation, a BMP with unusual colour masks, a JPEG of too many scans.
MANTA_ENGINE_EXPORT void check_whole(ByteView data, const ImageHeader& header);

// 8-bit, three channels in BGR order, turned upright; memory of `bgr` is used again when the size is the same.
// Grey and palette images become colour, alpha is dropped (not blended), 16 bits keep the upper 8.
// Throws ImageTooLarge from the header alone, and BadImage.
MANTA_ENGINE_EXPORT void decode_bgr(ByteView data, cv::Mat& bgr, std::int64_t max_pixels = kMaxPixels);

// The same in RGB order, as app/imaging.py's `decode` returns it.
[[nodiscard]] MANTA_ENGINE_EXPORT cv::Mat decode(ByteView data, std::int64_t max_pixels = kMaxPixels);

// An 8-bit image of 1 (grey), 3 or 4 channels -> RGB [height, width, 3] at `to`, by kResizeRule.
// Throws BadInput for any other type of image.
MANTA_ENGINE_EXPORT void to_input(const cv::Mat& image, ChannelOrder order, int height, int width, std::uint8_t* to);

}  // namespace manta
