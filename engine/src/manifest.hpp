// The manifest of a model version, as app/artifact.py writes it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace manta {

struct Manifest {
  std::string name;
  std::string architecture;
  std::string created;
  std::vector<std::string> labels;
  int height = 0;
  int width = 0;
};

// The manifest inside a graph: the JSON value of its metadata key `manta`. Throws BrokenModel.
[[nodiscard]] Manifest open_onnx_seal(std::string_view sealed);

// The file of a variant as a bundle's manifest.json names it, and what its bytes must be.
struct VariantFile {
  std::string name;
  std::string sha256;
};

// `manifest_json`: the text of manifest.json, whose own checksum is verified. Throws BrokenModel, and NotFound for a
// variant that the bundle does not have.
[[nodiscard]] VariantFile variant_file(std::string_view manifest_json, std::string_view variant);

}  // namespace manta
