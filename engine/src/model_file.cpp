#include "model_file.hpp"

#include <algorithm>
#include <fstream>
#include <string_view>

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

int hex_digit(char letter) {
  if (letter >= '0' && letter <= '9') return letter - '0';
  if (letter >= 'a' && letter <= 'f') return letter - 'a' + 10;
  if (letter >= 'A' && letter <= 'F') return letter - 'A' + 10;
  return -1;
}

// A percent sign without two digits stands for itself.
std::string percent_decoded(std::string_view text) {
  std::string decoded;
  decoded.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const int high = text[i] == '%' && i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
    const int low = high >= 0 ? hex_digit(text[i + 2]) : -1;
    decoded += low >= 0 ? static_cast<char>(high * 16 + low) : text[i];
    if (low >= 0) i += 2;
  }
  return decoded;
}

// The path that a `file://` URI names, such as `GET /model/info` has as `model_path`; any other path as it is.
std::filesystem::path local_path(const std::filesystem::path& given) {
  constexpr std::string_view kScheme = "file://";
  const std::string text = given.string();
  std::string_view rest = text;
  if (rest.substr(0, kScheme.size()) != kScheme) return given;
  rest.remove_prefix(kScheme.size());
  rest.remove_prefix(std::min(rest.find('/'), rest.size()));  // a host
  return percent_decoded(rest.substr(0, rest.find_first_of("?#")));
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

ModelFile read_model_file(const std::filesystem::path& given, const std::string& variant) {
  const std::filesystem::path model = local_path(given);
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
