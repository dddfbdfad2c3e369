#include "model_file.hpp"

#include <fstream>

#include "manifest.hpp"
#include "manta/errors.hpp"
#include "sha256.hpp"

namespace manta {
namespace {

constexpr const char* kManifestFile = "manifest.json";

// A file of the bundle's own folder: the name comes out of a file.
std::filesystem::path inside(const std::filesystem::path& folder, const std::string& name) {
  const std::filesystem::path path(name);
  if (name.empty() || path.filename() != path) {
    throw BrokenModel("manifest.json names a file outside the bundle: " + name);
  }
  return folder / path;
}

ModelFile read_bundle(const std::filesystem::path& folder, const std::string& variant) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(folder / kManifestFile, ignored)) {
    throw NotFound("no model bundle in " + folder.string() + ": " + kManifestFile + " is missing");
  }
  const VariantFile file = variant_file(read_file(folder / kManifestFile), variant);
  ModelFile model;
  model.path = inside(folder, file.name);
  if (!std::filesystem::is_regular_file(model.path, ignored)) {
    throw BrokenModel("bundle " + folder.string() + ": " + file.name + " is missing");
  }
  model.bytes = read_file(model.path);
  model.sha256 = sha256(model.bytes);
  if (model.sha256 != file.sha256) {
    throw BrokenModel(model.path.string() + " was changed after it was written (checksum differs)");
  }
  return model;
}

}  // namespace

std::string read_file(const std::filesystem::path& path) {
  std::error_code ignored;  // first of all: to open a pipe is to wait for its writer
  if (!std::filesystem::is_regular_file(path, ignored)) throw NotFound("cannot read " + path.string());
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) throw NotFound("cannot read " + path.string());
  std::string bytes(static_cast<std::size_t>(file.tellg()), '\0');
  file.seekg(0);
  if (!file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()))) {
    throw NotFound("cannot read " + path.string());
  }
  return bytes;
}

ModelFile read_model_file(const std::filesystem::path& model, const std::string& variant) {
  std::error_code ignored;
  if (std::filesystem::is_directory(model, ignored)) return read_bundle(model, variant);
  if (!std::filesystem::exists(model, ignored)) throw NotFound("there is no model " + model.string());
  ModelFile file;
  file.path = model;
  file.bytes = read_file(model);
  file.sha256 = sha256(file.bytes);
  return file;
}

}  // namespace manta
