// Any bytes are an image or a BadImage.
#include <array>
#include <cstddef>
#include <cstdint>
#include <opencv2/core.hpp>
#include <opencv2/core/utils/logger.hpp>

#include "manta/errors.hpp"
#include "manta/image.hpp"

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  cv::setNumThreads(1);
  cv::utils::logging::setLogLevel(cv::utils::logging::LOG_LEVEL_SILENT);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr int kSide = 32;
  constexpr std::int64_t kMaxPixels = 250'000;
  static std::array<std::uint8_t, std::size_t{kSide} * kSide * 3> input;
  cv::Mat image;
  try {
    manta::decode_bgr({data, size}, image, kMaxPixels);
    manta::to_input(image, manta::ChannelOrder::bgr, kSide, kSide, input.data());
  } catch (const manta::BadImage&) {
    return 0;
  }
  return 0;
}
