#include "benchmark.hpp"

#include <chrono>
#include <ctime>
#include <exception>
#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <thread>

namespace manta::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kWarmUpCalls = 10;

std::string noise(const ModelInfo& model) {
  cv::Mat image(model.height, model.width, CV_8UC3);
  cv::RNG(1).fill(image, cv::RNG::UNIFORM, 0, 256);
  std::vector<std::uint8_t> bytes;
  cv::imencode(".jpg", image, bytes);
  return {bytes.begin(), bytes.end()};
}

// The images of one call after the other, going round.
template <typename Item>
class Rounds {
 public:
  Rounds(const std::vector<Item>& items, std::size_t batch, std::size_t first) : items_(items), next_(first) {
    batch_.resize(batch);
  }
  const std::vector<Item>& next() {
    for (Item& item : batch_) item = items_[next_++ % items_.size()];
    return batch_;
  }

 private:
  const std::vector<Item>& items_;
  std::vector<Item> batch_;
  std::size_t next_;
};

void classify(const Engine& engine, const std::vector<ByteView>& batch, int top_k, std::vector<Classified>& results) {
  if (batch.size() == 1) {
    results.resize(1);
    engine.classify(batch[0], top_k, results[0]);
  } else {
    engine.classify_batch(batch.data(), batch.size(), top_k, results);
  }
}

void classify(const Engine& engine, const std::vector<cv::Mat>& batch, int top_k, std::vector<Classified>& results) {
  if (batch.size() == 1) {
    results.resize(1);
    engine.classify(batch[0], ChannelOrder::bgr, top_k, results[0]);
  } else {
    engine.classify_batch(batch.data(), batch.size(), ChannelOrder::bgr, top_k, results);
  }
}

template <typename Item>
BenchmarkResult measure(Engine& engine, const Arguments& arguments, const std::vector<Item>& items) {
  const auto batch = static_cast<std::size_t>(arguments.batch);
  const auto work = [&](std::size_t first, int calls, LatencyHistogram* histogram) {
    Rounds<Item> rounds(items, batch, first);
    std::vector<Classified> results;
    for (int i = 0; i < calls; ++i) {
      const auto& images = rounds.next();
      const auto started = Clock::now();
      classify(engine, images, arguments.top_k, results);
      if (histogram != nullptr) histogram->add(Clock::now() - started);
    }
  };
  work(0, kWarmUpCalls, nullptr);
  engine.reset_latency();

  LatencyHistogram calls;
  const auto workers = static_cast<std::size_t>(arguments.workers);
  std::vector<std::exception_ptr> failures(workers);
  std::vector<std::thread> threads;
  const std::clock_t cpu_before = std::clock();
  const auto started = Clock::now();
  for (std::size_t i = 0; i < workers; ++i) {
    threads.emplace_back([&, i] {
      try {
        work(i * items.size() / workers, arguments.iterations, &calls);
      } catch (...) {
        failures[i] = std::current_exception();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  BenchmarkResult result;
  result.wall_seconds = std::chrono::duration<double>(Clock::now() - started).count();
  result.cpu_seconds = static_cast<double>(std::clock() - cpu_before) / CLOCKS_PER_SEC;
  for (const auto& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
  result.images = workers * batch * static_cast<std::size_t>(arguments.iterations);
  result.call = calls.summary();
  for (const Stage stage : kStages) result.stages.push_back({name(stage), engine.latency(stage).summary()});
  return result;
}

}  // namespace

BenchmarkResult run_benchmark(Engine& engine, const Arguments& arguments, const std::vector<std::string>& encoded) {
  const std::string made = encoded.empty() ? noise(engine.model()) : "";
  std::vector<ByteView> views(encoded.begin(), encoded.end());
  if (views.empty()) views.emplace_back(made);
  std::vector<cv::Mat> decoded;
  for (const ByteView& view : views) {  // also a check: one that cannot be read is no thing to measure
    cv::Mat image;
    decode_bgr(view, image, engine.options().max_pixels);
    if (!arguments.decode) decoded.push_back(image);
  }
  engine.warm_up({static_cast<std::size_t>(arguments.batch)});
  return arguments.decode ? measure(engine, arguments, views) : measure(engine, arguments, decoded);
}

}  // namespace manta::cli
