// Cut and damaged files: whatever bytes come, the answer is BadImage or an image, and no byte beyond the end is read
// (which the build with -fsanitize=address sees).
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <opencv2/core/mat.hpp>
#include <random>
#include <string>
#include <vector>

#include "golden.hpp"
#include "manta/engine.hpp"

namespace manta {
namespace {

// In memory of exactly its size.
class Exact {
 public:
  explicit Exact(std::string_view bytes) : size_(bytes.size()), data_(new std::uint8_t[bytes.size()]) {
    std::copy(bytes.begin(), bytes.end(), data_.get());
  }
  [[nodiscard]] ByteView view() const { return {data_.get(), size_}; }

 private:
  std::size_t size_;
  std::unique_ptr<std::uint8_t[]> data_;
};

bool decodes(std::string_view bytes) {
  const Exact exact(bytes);
  cv::Mat image;
  try {
    decode_bgr(exact.view(), image, 1'000'000);
    return true;
  } catch (const BadImage&) {
    return false;
  }
}

std::vector<std::string> small_images() {
  std::vector<std::string> files;
  for (const auto& image : tests::golden_images()) {
    if (!image.error.empty()) continue;
    std::string bytes = tests::read(tests::golden_folder() / "images" / image.file);
    if (bytes.size() < 20'000) files.push_back(std::move(bytes));
  }
  return files;
}

TEST(ImageHeader, MessagesAreThoseOfPython) {
  const auto message = [](std::string_view bytes) -> std::string {
    try {
      static_cast<void>(read_header(bytes));
    } catch (const BadImage& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(message(""), "the image is empty");
  EXPECT_EQ(message("hello"), "not a JPEG, PNG, BMP or WebP image");
  EXPECT_EQ(message("\xff\xd8\xff"), "the image is cut off within its header");
  EXPECT_EQ(message("\xff\xd8\xff\xd9"), "the JPEG image has no frame header");
  EXPECT_EQ(message(std::string("BM") + std::string(50, '\0')), "the BMP header declares a size of 0x0 pixels");
}

TEST(ImageHeader, ThePixelLimitIsExactAndSeenBeforeDecoding) {
  for (const auto& bytes : small_images()) {
    const ImageHeader header = read_header(bytes);
    cv::Mat image;
    const std::int64_t pixels = header.width * header.height;
    EXPECT_NO_THROW(decode_bgr(bytes, image, pixels));
    if (pixels > 1) {
      EXPECT_THROW(decode_bgr(bytes, image, pixels - 1), ImageTooLarge);
    }
  }
}

TEST(ImageHeader, EveryCutOfEveryFormatIsRefusedOrDecoded) {
  for (const auto& bytes : small_images()) {
    const std::size_t step = std::max<std::size_t>(1, bytes.size() / 200);
    for (std::size_t length = 0; length < bytes.size(); length += length < 64 ? 1 : step) {
      decodes(std::string_view(bytes).substr(0, length));
    }
  }
}

TEST(ImageHeader, DamagedBytesAreRefusedOrDecoded) {
  std::mt19937 random(1);
  for (const auto& original : small_images()) {
    for (int round = 0; round < 50; ++round) {
      std::string bytes = original;
      for (int i = 0; i < 4; ++i) bytes[random() % bytes.size()] = static_cast<char>(random());
      decodes(bytes);
    }
  }
}

TEST(ImageHeader, NoiseBehindASignatureIsRefused) {
  std::mt19937 random(2);
  for (const auto& start : {std::string("\xff\xd8\xff"), std::string("\x89PNG\r\n\x1a\n"), std::string("BM"),
                            std::string("RIFF\x10\0\0\0WEBPVP8 ", 16)}) {
    for (int round = 0; round < 500; ++round) {
      std::string bytes = start;
      for (std::size_t i = random() % 200; i > 0; --i) bytes += static_cast<char>(random());
      decodes(bytes);
    }
  }
}

}  // namespace
}  // namespace manta
