#include "manifest.hpp"

#include <simdjson.h>

#include "manta/errors.hpp"
#include "manta/image.hpp"
#include "sha256.hpp"

namespace manta {
namespace {

namespace dom = simdjson::dom;

constexpr std::int64_t kOldestSchema = 1;
constexpr std::int64_t kNewestSchema = 2;
constexpr std::int64_t kMostPixelsAside = 1 << 16;

std::string text(dom::element object, std::string_view key) {
  return std::string(std::string_view(object[key]));
}

void check_schema(dom::element manifest) {
  const std::int64_t version = manifest["schema_version"];
  if (version < kOldestSchema || version > kNewestSchema) {
    throw BrokenModel("manifest has schema version " + std::to_string(version) + ", this engine reads up to " +
                      std::to_string(kNewestSchema));
  }
}

int side(dom::element input, std::string_view key) {
  const std::int64_t pixels = input[key];
  if (pixels < 1 || pixels > kMostPixelsAside) {
    throw BrokenModel("manifest has an input " + std::string(key) + " of " + std::to_string(pixels) + " pixels");
  }
  return static_cast<int>(pixels);
}

Manifest read(dom::element values) {
  check_schema(values);
  const dom::element input = values["input"];
  if (const auto rule = text(input, "resize"); rule != kResizeRule) {
    throw BrokenModel("the model was trained with the resize rule '" + rule + "', this engine has '" +
                      std::string(kResizeRule) + "'");
  }
  Manifest manifest;
  manifest.name = text(values, "name");
  manifest.architecture = text(values, "architecture");
  manifest.created = text(values, "created");
  manifest.height = side(input, "height");
  manifest.width = side(input, "width");
  for (const dom::element label : dom::array(values["labels"])) {
    manifest.labels.emplace_back(std::string_view(label));
  }
  if (manifest.labels.empty()) throw BrokenModel("manifest names no labels");
  return manifest;
}

// manifest.json seals the text of its `manifest` as it would stand alone: two spaces less in front of each line.
std::string without_indent(std::string_view indented) {
  std::string text;
  text.reserve(indented.size());
  for (std::size_t i = 0; i < indented.size(); ++i) {
    text += indented[i];
    if (indented[i] == '\n' && indented.substr(i + 1, 2) == "  ") i += 2;
  }
  return text;
}

// What stands between `"manifest": ` and the end of the outer object. Its writer puts it last.
std::string_view sealed_part(std::string_view document) {
  constexpr std::string_view kBefore = "\n  \"manifest\": ";
  constexpr std::string_view kAfter = "\n}\n";
  const std::size_t at = document.find(kBefore);
  if (at == std::string_view::npos || document.size() < at + kBefore.size() + kAfter.size() ||
      document.substr(document.size() - kAfter.size()) != kAfter) {
    return {};
  }
  const std::size_t start = at + kBefore.size();
  return document.substr(start, document.size() - kAfter.size() - start);
}

}  // namespace

Manifest open_onnx_seal(std::string_view sealed) {
  try {
    dom::parser outer;
    const dom::element seal = outer.parse(simdjson::padded_string(sealed));
    const std::string_view manifest = seal["manifest"];
    if (sha256(manifest) != std::string_view(seal["sha256"])) {
      throw BrokenModel("the manifest inside the ONNX file was changed (checksum differs)");
    }
    dom::parser inner;
    return read(inner.parse(simdjson::padded_string(manifest)));
  } catch (const simdjson::simdjson_error& error) {
    throw BrokenModel("the manifest inside the ONNX file is damaged: " + std::string(error.what()));
  }
}

VariantFile variant_file(std::string_view manifest_json, std::string_view variant) {
  try {
    dom::parser parser;
    const dom::element document = parser.parse(simdjson::padded_string(manifest_json));
    if (sha256(without_indent(sealed_part(manifest_json))) != std::string_view(document["sha256"])) {
      throw BrokenModel("manifest.json was changed after it was written (checksum differs)");
    }
    const dom::element manifest = document["manifest"];
    check_schema(manifest);
    std::string known;
    for (const auto& [name, entry] : dom::object(manifest["variants"])) {
      if (name != variant) {
        known += (known.empty() ? "" : ", ") + std::string(name);
        continue;
      }
      std::string_view status = "ok";
      if (!entry["status"].get(status) && status == "rejected") {
        throw NotFound("variant '" + std::string(variant) + "' was rejected: " + text(entry, "reason"));
      }
      const std::string file = text(entry, "file");
      return {file, text(manifest["files"], file)};
    }
    throw NotFound("the bundle has no variant '" + std::string(variant) +
                   "' (it has: " + (known.empty() ? "none" : known) + ")");
  } catch (const simdjson::simdjson_error& error) {
    throw BrokenModel("manifest.json is damaged: " + std::string(error.what()));
  }
}

}  // namespace manta
