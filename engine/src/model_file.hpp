// Finding a model on disk.
#pragma once

#include <filesystem>
#include <string>

#include "manta/bytes.hpp"

namespace manta {

struct ModelFile {
  std::filesystem::path path;
  std::string bytes;
  std::string sha256;
};

// `given`: a bundle's folder, whose checksums are verified, or one .onnx file; as a path or a file:// URI. Throws
// NotFound or BrokenModel.
[[nodiscard]] ModelFile read_model_file(const std::filesystem::path& given, const std::string& variant);

// The whole file. Throws NotFound.
[[nodiscard]] std::string read_file(const std::filesystem::path& path);

}  // namespace manta
