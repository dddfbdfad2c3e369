// The engine as a Python module.
//
//   import manta_engine
//   engine = manta_engine.Engine("bundle/")
//   engine.classify(Path("cat.jpg").read_bytes()).predictions[0].class_name
//
// Python's other threads go on while an image is decoded and run.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "manta/engine.hpp"
#include "manta/version.hpp"

namespace nb = nanobind;

namespace {

using Images = nb::ndarray<const std::uint8_t, nb::ndim<4>, nb::c_contig, nb::device::cpu>;
using Probabilities = nb::ndarray<nb::numpy, float, nb::ndim<2>>;

manta::ByteView view(const nb::bytes& data) {
  return {static_cast<const std::uint8_t*>(data.data()), data.size()};
}

// What Python keeps may outlive the engine, whose names a `Prediction` of C++ only points to.
struct Prediction {
  int class_id;
  std::string class_name;
  float confidence;
};

struct Classified {
  std::vector<Prediction> predictions;
  int height;
  int width;
  std::string error;
};

Classified kept(const manta::Classified& answer) {
  Classified copy{{}, answer.size.height, answer.size.width, answer.error};
  for (const auto& each : answer.predictions) {
    copy.predictions.push_back({each.class_id, std::string(each.class_name), each.confidence});
  }
  return copy;
}

void construct(manta::Engine* self, const std::filesystem::path& model, const std::string& variant, int threads,
               bool gpu, std::int64_t max_pixels) {
  manta::EngineOptions options;
  options.variant = variant;
  options.threads = threads;
  options.provider = gpu ? manta::Provider::cuda : manta::Provider::cpu;
  options.max_pixels = max_pixels;
  const nb::gil_scoped_release others_go_on;
  new (self) manta::Engine(model, options);
}

Classified classify(const manta::Engine& engine, const nb::bytes& data, int top_k) {
  const manta::ByteView encoded = view(data);
  const nb::gil_scoped_release others_go_on;
  return kept(engine.classify(encoded, top_k));
}

std::vector<Classified> classify_batch(const manta::Engine& engine, const std::vector<nb::bytes>& data, int top_k) {
  std::vector<manta::ByteView> encoded;
  for (const nb::bytes& each : data) encoded.push_back(view(each));
  const nb::gil_scoped_release others_go_on;
  std::vector<Classified> answers;
  for (const auto& answer : engine.classify_batch(encoded, top_k)) answers.push_back(kept(answer));
  return answers;
}

Probabilities infer(const manta::Engine& engine, const Images& images) {
  const manta::ModelInfo& model = engine.model();
  if (images.shape(1) != static_cast<std::size_t>(model.height) ||
      images.shape(2) != static_cast<std::size_t>(model.width) || images.shape(3) != 3) {
    throw manta::BadInput("images must be uint8 [N, " + std::to_string(model.height) + ", " +
                          std::to_string(model.width) + ", 3]");
  }
  const std::size_t count = images.shape(0);
  auto values = std::make_unique<std::vector<float>>(count * engine.classes());
  {
    const nb::gil_scoped_release others_go_on;
    engine.infer(images.data(), count, values->data());
  }
  float* data = values->data();
  const nb::capsule owner(values.release(),
                          [](void* memory) noexcept { delete static_cast<std::vector<float>*>(memory); });
  return Probabilities(data, {count, engine.classes()}, owner);
}

// The tree of manta/errors.hpp.
void bind_errors(nb::module_& module) {
  const nb::exception<manta::Error> error(module, "Error");
  const nb::exception<manta::BadInput> bad_input(module, "BadInput", error);
  const nb::exception<manta::BadImage> bad_image(module, "BadImage", bad_input);
  const nb::exception<manta::ImageTooLarge> too_large(module, "ImageTooLarge", bad_image);
  const nb::exception<manta::NotFound> not_found(module, "NotFound", error);
  const nb::exception<manta::BrokenModel> broken(module, "BrokenModel", error);
}

void bind_answers(nb::module_& module) {
  nb::class_<Prediction>(module, "Prediction")
      .def_ro("class_id", &Prediction::class_id)
      .def_ro("class_name", &Prediction::class_name)
      .def_ro("confidence", &Prediction::confidence, "0 to 1.");
  nb::class_<Classified>(module, "Classified")
      .def_ro("predictions", &Classified::predictions, "Highest first; the lower id first when equal.")
      .def_ro("height", &Classified::height, "Of the image as it was sent, upright.")
      .def_ro("width", &Classified::width)
      .def_ro("error", &Classified::error, "In a batch: why this image could not be read; empty when it was.");
}

void bind_engine(nb::module_& module) {
  nb::class_<manta::Engine>(module, "Engine", "A loaded model. Any number of threads may use it at once.")
      .def("__init__", &construct, nb::arg("model"), nb::kw_only(), nb::arg("variant") = "fp32", nb::arg("threads") = 1,
           nb::arg("gpu") = false, nb::arg("max_pixels") = manta::kMaxPixels,
           "model: a bundle's folder, or one .onnx file of it. Raises NotFound, BrokenModel or BadInput.")
      .def("classify", &classify, nb::arg("data"), nb::arg("top_k") = manta::kDefaultTopK,
           "An encoded image. Raises BadImage, and BadInput for a top_k below 1.")
      .def("classify_batch", &classify_batch, nb::arg("data"), nb::arg("top_k") = manta::kDefaultTopK,
           "Encoded images, all in one run. A bad one has `error`, and shifts no other.")
      .def("infer", &infer, nb::arg("images").noconvert(),
           "images: uint8 [N, H, W, 3] RGB at the input size, contiguous. Returns float32 [N, C], each row sums to 1.")
      .def_prop_ro("name", [](const manta::Engine& engine) { return engine.model().name; })
      .def_prop_ro("sha256", [](const manta::Engine& engine) { return engine.model().sha256; })
      .def_prop_ro("labels", [](const manta::Engine& engine) { return engine.model().labels; })
      .def_prop_ro("height", [](const manta::Engine& engine) { return engine.model().height; })
      .def_prop_ro("width", [](const manta::Engine& engine) { return engine.model().width; })
      .def_prop_ro("provider", [](const manta::Engine& engine) { return engine.provider(); })
      .def_prop_ro("provider_message", [](const manta::Engine& engine) { return engine.provider_message(); });
}

}  // namespace

NB_MODULE(manta_engine, module) {
  module.doc() = "Image classification with Manta's models.";
  module.attr("__version__") = manta::kVersion;
  bind_errors(module);
  bind_answers(module);
  bind_engine(module);
}
