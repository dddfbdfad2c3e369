// A loaded model: images in, the most likely classes out.
//
//   manta::Engine engine("bundle/");              // a bundle's folder, or one .onnx file of it
//   engine.warm_up();
//   for (const auto& best : engine.classify(bytes).predictions) ...
//
// An Engine can be moved, not copied; one that was moved from can only be assigned to or destroyed. All const members
// may be called from any number of threads at once; more threads that call use cores better than
// EngineOptions::threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <memory>
#include <opencv2/core/mat.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "manta/bytes.hpp"
#include "manta/errors.hpp"
#include "manta/export.hpp"
#include "manta/image.hpp"
#include "manta/latency.hpp"
#include "manta/model.hpp"
#include "manta/options.hpp"

namespace manta {

inline constexpr int kDefaultTopK = 5;

struct Prediction {
  int class_id = 0;
  // Valid as long as the engine is, also after it was moved.
  std::string_view class_name;
  // Probability, 0 to 1.
  float confidence = 0;
};

struct Classified {
  // Highest first; the lower id first when equal.
  std::vector<Prediction> predictions;
  // As it was sent, upright.
  ImageSize size;
  // In a batch: why this image could not be read; empty when it was.
  std::string error;
};

class MANTA_ENGINE_EXPORT Engine {
 public:
  // Throws NotFound or BrokenModel (also for a model without the metadata that Manta puts into every graph, and for a
  // bundle whose checksums are wrong), BadInput for options.
  explicit Engine(const std::filesystem::path& model, const EngineOptions& options = {});
  ~Engine();
  Engine(Engine&&) noexcept;
  Engine& operator=(Engine&&) noexcept;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  [[nodiscard]] const ModelInfo& model() const noexcept;
  [[nodiscard]] const EngineOptions& options() const noexcept;
  // What runs the graph: "cpu" or "cuda:0".
  [[nodiscard]] const std::string& provider() const noexcept;
  // Why it is not the one that was asked for; empty when it is.
  [[nodiscard]] const std::string& provider_message() const noexcept;
  [[nodiscard]] static std::string onnxruntime_version();

  // Runs each batch size once, so that the first request does not pay for allocation. Empties the latency of runs.
  void warm_up(std::initializer_list<std::size_t> batch_sizes = {1, 8, 32}) const;

  // An encoded image. `top_k` above the number of classes means all. Throws BadImage; BadInput for a top_k below 1.
  [[nodiscard]] Classified classify(ByteView encoded, int top_k = kDefaultTopK) const;
  // An 8-bit image of 1, 3 or 4 channels.
  [[nodiscard]] Classified classify(const cv::Mat& image, ChannelOrder order = ChannelOrder::bgr,
                                    int top_k = kDefaultTopK) const;
  // Encoded images, all in one run. One entry per image, in order: a bad one has `error`, and shifts no other.
  [[nodiscard]] std::vector<Classified> classify_batch(const std::vector<ByteView>& encoded,
                                                       int top_k = kDefaultTopK) const;
  [[nodiscard]] std::vector<Classified> classify_batch(const std::vector<cv::Mat>& images,
                                                       ChannelOrder order = ChannelOrder::bgr,
                                                       int top_k = kDefaultTopK) const;

  // The same with memory of the caller, which is used again: after the first calls of its size none of these
  // allocates, beyond what the decoders and ONNX Runtime do inside.
  void classify(ByteView encoded, int top_k, Classified& result) const;
  void classify(const cv::Mat& image, ChannelOrder order, int top_k, Classified& result) const;
  void classify_batch(const ByteView* encoded, std::size_t count, int top_k, std::vector<Classified>& results) const;
  void classify_batch(const cv::Mat* images, std::size_t count, ChannelOrder order, int top_k,
                      std::vector<Classified>& results) const;

  // The steps by themselves, for callers that batch on their own.
  // Bytes of one input image: height * width * 3.
  [[nodiscard]] std::size_t input_bytes() const noexcept;
  [[nodiscard]] std::size_t classes() const noexcept;
  // An encoded image -> `input_bytes()` bytes at `to`. Returns its own size. Throws BadImage.
  ImageSize preprocess(ByteView encoded, std::uint8_t* to) const;
  ImageSize preprocess(const cv::Mat& image, ChannelOrder order, std::uint8_t* to) const;
  // `images`: uint8 [count, height, width, 3] RGB; `probabilities`: float32 [count, classes], each row sums to 1.
  void infer(const std::uint8_t* images, std::size_t count, float* probabilities) const;
  // The best of one row.
  void top(const float* probabilities, int top_k, std::vector<Prediction>& best) const;

  [[nodiscard]] const LatencyHistogram& latency(Stage stage) const noexcept;
  void reset_latency() noexcept;

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace manta
