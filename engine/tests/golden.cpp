#include "golden.hpp"

#include <simdjson.h>

#include <fstream>
#include <iterator>
#include <stdexcept>

namespace manta::tests {
namespace {

namespace dom = simdjson::dom;

std::vector<GoldenImage> load() {
  dom::parser parser;
  std::vector<GoldenImage> images;
  const dom::element document = parser.load((golden_folder() / "golden.json").string());
  for (const dom::element entry : dom::array(document)) {
    GoldenImage image;
    image.file = std::string(entry["file"].get_string().value());
    std::string_view error;
    if (entry["error"].get(error) == simdjson::SUCCESS) {
      image.error = std::string(error);
    } else {
      image.height = static_cast<int>(entry["height"].get_int64().value());
      image.width = static_cast<int>(entry["width"].get_int64().value());
      for (const auto& [name, answer] : dom::object(entry["answers"])) {
        GoldenAnswer& to = image.answers[std::string(name)];
        to.input_sha256 = std::string(answer["input_sha256"].get_string().value());
        for (const dom::element value : dom::array(answer["probabilities"])) {
          to.probabilities.push_back(static_cast<float>(value.get_double().value()));
        }
      }
    }
    images.push_back(std::move(image));
  }
  return images;
}

}  // namespace

std::filesystem::path golden_folder() {
  return MANTA_GOLDEN;
}

std::filesystem::path bundle(const std::string& name) {
  return golden_folder() / "bundles" / name;
}

const std::vector<GoldenImage>& golden_images() {
  static const std::vector<GoldenImage> images = load();
  return images;
}

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path.string());
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace manta::tests
