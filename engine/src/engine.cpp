#include "manta/engine.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <mutex>
#include <numeric>
#include <utility>

#include "model_file.hpp"
#include "session.hpp"

namespace manta {
namespace {

using Clock = std::chrono::steady_clock;

void check_top_k(int top_k) {
  if (top_k < 1) throw BadInput("`top_k` must be a whole number of 1 or more");
}

// Adds the time since it was made.
class Stopwatch {
 public:
  explicit Stopwatch(LatencyHistogram& histogram) : histogram_(histogram) {}
  ~Stopwatch() { histogram_.add(Clock::now() - started_); }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;
  Stopwatch(Stopwatch&&) = delete;
  Stopwatch& operator=(Stopwatch&&) = delete;

 private:
  LatencyHistogram& histogram_;
  Clock::time_point started_ = Clock::now();
};

// Memory of one call, kept for the next one.
struct Workspace {
  cv::Mat decoded;
  std::vector<std::uint8_t> images;
  std::vector<float> probabilities;
  std::vector<int> order;
  // Which image of the batch each row of `images` is.
  std::vector<std::size_t> rows;
};

// At the end of a call, also of one that fails: an image of more than 12 MB is not kept for the next one.
class LargeImageRelease {
 public:
  explicit LargeImageRelease(cv::Mat& image) : image_(image) {}
  ~LargeImageRelease() {
    if (image_.total() > kKeptPixels) image_.release();
  }
  LargeImageRelease(const LargeImageRelease&) = delete;
  LargeImageRelease& operator=(const LargeImageRelease&) = delete;
  LargeImageRelease(LargeImageRelease&&) = delete;
  LargeImageRelease& operator=(LargeImageRelease&&) = delete;

 private:
  static constexpr std::size_t kKeptPixels = 4'000'000;
  cv::Mat& image_;
};

class Workspaces {
 public:
  // Given back when the lease ends.
  class Lease {
   public:
    Lease(Workspaces& owner, std::unique_ptr<Workspace> workspace) : owner_(owner), workspace_(std::move(workspace)) {}
    ~Lease() { owner_.give_back(std::move(workspace_)); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    Lease(Lease&&) = delete;
    Lease& operator=(Lease&&) = delete;
    Workspace* operator->() const { return workspace_.get(); }
    Workspace& operator*() const { return *workspace_; }

   private:
    Workspaces& owner_;
    std::unique_ptr<Workspace> workspace_;
  };

  Lease take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (free_.empty()) {
      free_.reserve(++made_);  // giving back must not allocate
      return {*this, std::make_unique<Workspace>()};
    }
    auto workspace = std::move(free_.back());
    free_.pop_back();
    return {*this, std::move(workspace)};
  }

 private:
  void give_back(std::unique_ptr<Workspace> workspace) {
    const std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(std::move(workspace));
  }

  std::mutex mutex_;
  std::vector<std::unique_ptr<Workspace>> free_;
  std::size_t made_ = 0;
};

}  // namespace

struct Engine::Implementation {
  Implementation(const std::filesystem::path& model_path, EngineOptions given) : options(std::move(given)) {
    options.validate();
    ModelFile file = read_model_file(model_path, options.variant);
    loaded = load_session(file.bytes, file.path.string(), options);
    try {
      Manifest manifest = read_metadata(loaded.session);
      model.name = std::move(manifest.name);
      model.architecture = std::move(manifest.architecture);
      model.created = std::move(manifest.created);
      model.labels = std::move(manifest.labels);
      model.height = manifest.height;
      model.width = manifest.width;
    } catch (const BrokenModel& error) {
      throw BrokenModel(file.path.string() + ": " + error.what());
    }
    model.path = file.path.string();
    model.sha256 = std::move(file.sha256);
    input_bytes = std::size_t{3} * static_cast<std::size_t>(model.height) * static_cast<std::size_t>(model.width);
  }

  LatencyHistogram& histogram(Stage stage) { return latency[static_cast<std::size_t>(stage)]; }

  ImageSize preprocess(const cv::Mat& image, ChannelOrder order, std::uint8_t* to) {
    const Stopwatch watch(histogram(Stage::preprocess));
    to_input(image, order, model.height, model.width, to);
    return {image.rows, image.cols};
  }

  ImageSize preprocess(ByteView encoded, Workspace& workspace, std::uint8_t* to) {
    const LargeImageRelease release(workspace.decoded);
    {
      const Stopwatch watch(histogram(Stage::decode));
      decode_bgr(encoded, workspace.decoded, options.max_pixels);
    }
    return preprocess(workspace.decoded, ChannelOrder::bgr, to);
  }

  void infer(const std::uint8_t* images, std::size_t count, float* probabilities) {
    if (count == 0) return;
    const Stopwatch watch(histogram(Stage::run));
    const auto batch = static_cast<std::int64_t>(count);
    const std::array<std::int64_t, 4> input_shape = {batch, model.height, model.width, 3};
    const std::array<std::int64_t, 2> output_shape = {batch, static_cast<std::int64_t>(model.labels.size())};
    constexpr std::array<const char*, 1> kInput = {"images"};
    constexpr std::array<const char*, 1> kOutput = {"probabilities"};
    // ONNX Runtime only reads its inputs, but takes what a tensor can hold.
    auto* input_data = const_cast<std::uint8_t*>(images);
    try {
      const Ort::Value input = Ort::Value::CreateTensor<std::uint8_t>(memory, input_data, count * input_bytes,
                                                                      input_shape.data(), input_shape.size());
      Ort::Value output = Ort::Value::CreateTensor<float>(memory, probabilities, count * model.labels.size(),
                                                          output_shape.data(), output_shape.size());
      loaded.session.Run(run_options, kInput.data(), &input, 1, kOutput.data(), &output, 1);
    } catch (const Ort::Exception& error) {
      throw Error(std::string("ONNX Runtime failed: ") + error.what());
    }
  }

  void top(const float* probabilities, int top_k, std::vector<int>& order, std::vector<Prediction>& best) const {
    const std::size_t classes = model.labels.size();
    const std::size_t count = std::min(static_cast<std::size_t>(top_k), classes);
    order.resize(classes);
    std::iota(order.begin(), order.end(), 0);
    const auto is_better = [probabilities](int one, int other) {
      return probabilities[one] > probabilities[other] || (probabilities[one] == probabilities[other] && one < other);
    };
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count), order.end(), is_better);
    best.resize(count);
    for (std::size_t i = 0; i < count; ++i) {
      best[i] = {order[i], model.labels[static_cast<std::size_t>(order[i])], probabilities[order[i]]};
    }
  }

  // `preprocess_one(i, workspace, to)` writes image i to `to` and returns its size, or throws BadInput.
  template <typename PreprocessOne>
  void classify_all(std::size_t count, int top_k, std::vector<Classified>& results, PreprocessOne preprocess_one) {
    check_top_k(top_k);
    const auto workspace = workspaces.take();
    preprocess_all(count, *workspace, results, preprocess_one);
    const std::size_t classes = model.labels.size();
    workspace->probabilities.resize(workspace->rows.size() * classes);
    infer(workspace->images.data(), workspace->rows.size(), workspace->probabilities.data());
    const Stopwatch watch(histogram(Stage::postprocess));
    for (std::size_t row = 0; row < workspace->rows.size(); ++row) {
      top(&workspace->probabilities[row * classes], top_k, workspace->order, results[workspace->rows[row]].predictions);
    }
  }

  // Those that can be read are `workspace.images`, without gaps; `workspace.rows` says which they are.
  template <typename PreprocessOne>
  void preprocess_all(std::size_t count, Workspace& workspace, std::vector<Classified>& results,
                      PreprocessOne preprocess_one) {
    workspace.images.resize(count * input_bytes);
    workspace.rows.clear();
    results.resize(count);
    for (std::size_t i = 0; i < count; ++i) {
      Classified& result = results[i];
      result.error.clear();
      result.predictions.clear();
      result.size = {};
      try {
        result.size = preprocess_one(i, workspace, &workspace.images[workspace.rows.size() * input_bytes]);
        workspace.rows.push_back(i);
      } catch (const BadInput& error) {
        result.error = error.what();
      }
    }
  }

  // `preprocess_it(workspace, to)` writes the image to `to` and returns its size, or throws BadInput.
  template <typename PreprocessIt>
  void classify_one(int top_k, Classified& result, PreprocessIt preprocess_it) {
    check_top_k(top_k);
    const auto workspace = workspaces.take();
    workspace->images.resize(input_bytes);
    workspace->probabilities.resize(model.labels.size());
    result.error.clear();
    result.size = preprocess_it(*workspace, workspace->images.data());
    infer(workspace->images.data(), 1, workspace->probabilities.data());
    const Stopwatch watch(histogram(Stage::postprocess));
    top(workspace->probabilities.data(), top_k, workspace->order, result.predictions);
  }

  EngineOptions options;
  ModelInfo model;
  std::size_t input_bytes = 0;
  LoadedSession loaded;
  Ort::RunOptions run_options;
  Ort::MemoryInfo memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  Workspaces workspaces;
  std::array<LatencyHistogram, kStages.size()> latency;
};

Engine::Engine(const std::filesystem::path& model, const EngineOptions& options)
    : implementation_(std::make_unique<Implementation>(model, options)) {}
Engine::~Engine() = default;
Engine::Engine(Engine&&) noexcept = default;
Engine& Engine::operator=(Engine&&) noexcept = default;

const ModelInfo& Engine::model() const noexcept {
  return implementation_->model;
}
const EngineOptions& Engine::options() const noexcept {
  return implementation_->options;
}
const std::string& Engine::provider() const noexcept {
  return implementation_->loaded.provider;
}
const std::string& Engine::provider_message() const noexcept {
  return implementation_->loaded.provider_message;
}
std::string Engine::onnxruntime_version() {
  return OrtGetApiBase()->GetVersionString();
}

void Engine::warm_up(std::initializer_list<std::size_t> batch_sizes) const {
  for (const std::size_t size : batch_sizes) {
    const std::vector<std::uint8_t> images(size * input_bytes());
    std::vector<float> probabilities(size * classes());
    infer(images.data(), size, probabilities.data());
  }
  implementation_->histogram(Stage::run).reset();
}

Classified Engine::classify(ByteView encoded, int top_k) const {
  Classified result;
  classify(encoded, top_k, result);
  return result;
}

Classified Engine::classify(const cv::Mat& image, ChannelOrder order, int top_k) const {
  Classified result;
  classify(image, order, top_k, result);
  return result;
}

std::vector<Classified> Engine::classify_batch(const std::vector<ByteView>& encoded, int top_k) const {
  std::vector<Classified> results;
  classify_batch(encoded.data(), encoded.size(), top_k, results);
  return results;
}

std::vector<Classified> Engine::classify_batch(const std::vector<cv::Mat>& images, ChannelOrder order,
                                               int top_k) const {
  std::vector<Classified> results;
  classify_batch(images.data(), images.size(), order, top_k, results);
  return results;
}

void Engine::classify(ByteView encoded, int top_k, Classified& result) const {
  implementation_->classify_one(top_k, result, [&](Workspace& workspace, std::uint8_t* to) {
    return implementation_->preprocess(encoded, workspace, to);
  });
}

void Engine::classify(const cv::Mat& image, ChannelOrder order, int top_k, Classified& result) const {
  implementation_->classify_one(top_k, result, [&](Workspace& /*workspace*/, std::uint8_t* to) {
    return implementation_->preprocess(image, order, to);
  });
}

void Engine::classify_batch(const ByteView* encoded, std::size_t count, int top_k,
                            std::vector<Classified>& results) const {
  implementation_->classify_all(count, top_k, results, [&](std::size_t i, Workspace& workspace, std::uint8_t* to) {
    return implementation_->preprocess(encoded[i], workspace, to);
  });
}

void Engine::classify_batch(const cv::Mat* images, std::size_t count, ChannelOrder order, int top_k,
                            std::vector<Classified>& results) const {
  implementation_->classify_all(count, top_k, results, [&](std::size_t i, Workspace& /*workspace*/, std::uint8_t* to) {
    return implementation_->preprocess(images[i], order, to);
  });
}

std::size_t Engine::input_bytes() const noexcept {
  return implementation_->input_bytes;
}
std::size_t Engine::classes() const noexcept {
  return implementation_->model.labels.size();
}

ImageSize Engine::preprocess(ByteView encoded, std::uint8_t* to) const {
  const auto workspace = implementation_->workspaces.take();
  return implementation_->preprocess(encoded, *workspace, to);
}

ImageSize Engine::preprocess(const cv::Mat& image, ChannelOrder order, std::uint8_t* to) const {
  return implementation_->preprocess(image, order, to);
}

void Engine::infer(const std::uint8_t* images, std::size_t count, float* probabilities) const {
  implementation_->infer(images, count, probabilities);
}

void Engine::top(const float* probabilities, int top_k, std::vector<Prediction>& best) const {
  check_top_k(top_k);
  const Stopwatch watch(implementation_->histogram(Stage::postprocess));
  const auto workspace = implementation_->workspaces.take();
  implementation_->top(probabilities, top_k, workspace->order, best);
}

const LatencyHistogram& Engine::latency(Stage stage) const noexcept {
  return implementation_->histogram(stage);
}

void Engine::reset_latency() noexcept {
  for (auto& histogram : implementation_->latency) histogram.reset();
}

}  // namespace manta
