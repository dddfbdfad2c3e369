// What a model says of itself.
#pragma once

#include <string>
#include <vector>

namespace manta {

struct ModelInfo {
  // The .onnx file that was loaded.
  std::string path;
  // sha256 of its bytes, in hexadecimal.
  std::string sha256;
  std::string name;
  std::string architecture;
  // ISO 8601, UTC.
  std::string created;
  // labels[i] names output column i.
  std::vector<std::string> labels;
  // Input size in pixels: the graph takes uint8 RGB [N, height, width, 3] and gives float32 [N, labels.size()].
  int height = 0;
  int width = 0;
};

}  // namespace manta
