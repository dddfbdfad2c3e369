// The engine against Python, on the same files with the same bundles.
#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iostream>
#include <string>
#include <vector>

#include "golden.hpp"
#include "manta/engine.hpp"

namespace manta {
namespace {

constexpr float kTolerance = 1e-5F;

std::string sha256(const std::vector<std::uint8_t>& data) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  EVP_Digest(data.data(), data.size(), digest.data(), &size, EVP_sha256(), nullptr);
  std::string text;
  for (unsigned int i = 0; i < size; ++i) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    text += kDigits[digest[i] >> 4U];
    text += kDigits[digest[i] & 0xFU];
  }
  return text;
}

class ParityOf : public ::testing::TestWithParam<const char*> {};

TEST_P(ParityOf, TheSameAnswersToEveryImage) {
  const std::string name = GetParam();
  const Engine engine(tests::bundle(name));
  std::vector<std::uint8_t> input(engine.input_bytes());
  std::vector<float> row(engine.classes());
  int images = 0;
  int same_input = 0;
  int same_answer = 0;
  float largest = 0;
  for (const auto& image : tests::golden_images()) {
    SCOPED_TRACE(image.file);
    const std::string bytes = tests::read(tests::golden_folder() / "images" / image.file);
    if (!image.error.empty()) {
      try {
        engine.preprocess(bytes, input.data());
        ADD_FAILURE() << "was not refused: " << image.error;
      } catch (const BadImage& error) {
        EXPECT_EQ(error.what(), image.error);
      }
      continue;
    }
    const auto& expected = image.answers.at(name);
    const ImageSize size = engine.preprocess(bytes, input.data());
    EXPECT_EQ(size.height, image.height);
    EXPECT_EQ(size.width, image.width);
    engine.infer(input.data(), 1, row.data());
    ASSERT_EQ(row.size(), expected.probabilities.size());
    const auto best = [](const std::vector<float>& values) {
      return std::max_element(values.begin(), values.end()) - values.begin();
    };
    EXPECT_EQ(best(row), best(expected.probabilities));
    float difference = 0;
    for (std::size_t i = 0; i < row.size(); ++i) {
      difference = std::max(difference, std::abs(row[i] - expected.probabilities[i]));
    }
    const bool same_pixels = sha256(input) == expected.input_sha256;
    EXPECT_LE(difference, kTolerance) << (same_pixels ? "same pixels" : "other pixels");
    largest = std::max(largest, difference);
    ++images;
    same_input += same_pixels ? 1 : 0;
    same_answer += row == expected.probabilities ? 1 : 0;
  }
  EXPECT_GT(images, 50);
  std::cout << name << ": " << images << " images, " << same_input << " with bit-identical input, " << same_answer
            << " with bit-identical probabilities, largest difference " << largest << '\n';
}

INSTANTIATE_TEST_SUITE_P(Parity, ParityOf, ::testing::Values("colours", "network"));

}  // namespace
}  // namespace manta
