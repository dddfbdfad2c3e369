// What Python made of the same images with the same bundles: `python -m tests.engine.golden`.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace manta::tests {

struct GoldenAnswer {
  // sha256 of the input image, [height, width, 3] uint8.
  std::string input_sha256;
  std::vector<float> probabilities;
};

struct GoldenImage {
  std::string file;
  // Why Python refuses it; empty when it does not.
  std::string error;
  int height = 0;
  int width = 0;
  // By name of the bundle.
  std::map<std::string, GoldenAnswer> answers;
};

[[nodiscard]] std::filesystem::path golden_folder();
[[nodiscard]] std::filesystem::path bundle(const std::string& name);
[[nodiscard]] const std::vector<GoldenImage>& golden_images();
[[nodiscard]] std::string read(const std::filesystem::path& path);

}  // namespace manta::tests
