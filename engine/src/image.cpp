// Mirrors app/imaging.py.
#include "manta/image.hpp"

#include <limits>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <string>

#include "exif_orientation.hpp"
#include "manta/errors.hpp"

namespace manta {
namespace {

std::string with_commas(std::int64_t value) {
  std::string text = std::to_string(value);
  for (auto place = static_cast<std::ptrdiff_t>(text.size()) - 3; place > 0; place -= 3) {
    text.insert(static_cast<std::size_t>(place), ",");
  }
  return text;
}

[[noreturn]] void cannot_be_decoded(const ImageHeader& header) {
  throw BadImage("the " + std::string(upper_name(header.format)) + " image cannot be decoded");
}

// What EXIF's eight orientations stand for.
void turn_upright(cv::Mat& image, int orientation) {
  if (orientation >= 5) cv::transpose(image, image);
  switch (orientation) {
    case 2:
    case 6:
      cv::flip(image, image, 1);
      break;
    case 4:
    case 8:
      cv::flip(image, image, 0);
      break;
    case 3:
    case 7:
      cv::flip(image, image, -1);
      break;
    default:
      break;
  }
}

int to_rgb_code(const cv::Mat& image, ChannelOrder order) {
  switch (image.type()) {
    case CV_8UC1:
      return cv::COLOR_GRAY2RGB;
    case CV_8UC3:
      return order == ChannelOrder::bgr ? cv::COLOR_BGR2RGB : -1;
    case CV_8UC4:
      return order == ChannelOrder::bgr ? cv::COLOR_BGRA2RGB : cv::COLOR_RGBA2RGB;
    default:
      throw BadInput("an image must have 8 bits and 1, 3 or 4 channels");
  }
}

}  // namespace

void decode_bgr(ByteView data, cv::Mat& bgr, std::int64_t max_pixels) {
  const ImageHeader header = read_header(data);
  if (header.width > max_pixels / header.height) {
    throw ImageTooLarge("the image has " + std::to_string(header.width) + "x" + std::to_string(header.height) +
                        " pixels, the limit is " + with_commas(max_pixels) + " in all");
  }
  check_whole(data, header);
  if (data.size() > static_cast<std::size_t>(std::numeric_limits<int>::max())) cannot_be_decoded(header);
  // imdecode only reads, but takes what cv::Mat can hold.
  const cv::Mat encoded(1, static_cast<int>(data.size()), CV_8UC1, const_cast<std::uint8_t*>(data.data()));
  // OpenCV reads PNG's orientation as newer ones do.
  const bool is_png = header.format == ImageFormat::png;
  const int flags = cv::IMREAD_COLOR | (is_png ? 0 : cv::IMREAD_IGNORE_ORIENTATION);
  try {
    // On failure the result is empty and `bgr` may still hold the image before.
    if (cv::imdecode(encoded, flags, &bgr).empty()) cannot_be_decoded(header);
    turn_upright(bgr, exif_orientation(data, header.format));
  } catch (const cv::Exception&) {
    cannot_be_decoded(header);
  }
}

cv::Mat decode(ByteView data, std::int64_t max_pixels) {
  cv::Mat image;
  decode_bgr(data, image, max_pixels);
  cv::cvtColor(image, image, cv::COLOR_BGR2RGB);
  return image;
}

void to_input(const cv::Mat& image, ChannelOrder order, int height, int width, std::uint8_t* to) {
  if (image.empty() || image.dims != 2) throw BadInput("an image must have rows and columns");
  const int code = to_rgb_code(image, order);
  cv::Mat input(height, width, CV_8UC3, to);
  if (image.rows == height && image.cols == width) {
    if (code < 0) {
      image.copyTo(input);
    } else {
      cv::cvtColor(image, input, code);
    }
    return;
  }
  const bool shrinks = std::int64_t{height} * width < std::int64_t{image.rows} * image.cols;
  const int how = shrinks ? cv::INTER_AREA : cv::INTER_LINEAR;
  // Channels are resized one by one, so their order can be changed where there are fewer pixels.
  if (image.type() == CV_8UC3) {
    cv::resize(image, input, input.size(), 0, 0, how);
    if (code >= 0) cv::cvtColor(input, input, code);
  } else {
    cv::Mat resized;
    cv::resize(image, resized, input.size(), 0, 0, how);
    cv::cvtColor(resized, input, code);
  }
}

}  // namespace manta
