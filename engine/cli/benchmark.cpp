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

// What one caller does: `calls` calls, each with the next batch; the first one begins with image `first`.
template <typename Item>
void call_in_turn(const Engine& engine, const Arguments& arguments, const std::vector<Item>& items, std::size_t first,
                  int calls, LatencyHistogram& histogram) {
  Rounds<Item> rounds(items, static_cast<std::size_t>(arguments.batch), first);
  std::vector<Classified> results;
  for (int i = 0; i < calls; ++i) {
    const auto& images = rounds.next();
    const auto started = Clock::now();
    classify(engine, images, arguments.top_k, results);
    histogram.add(Clock::now() - started);
  }
}

// Calls `work(i)` in a thread for each i below `workers`, and throws what one of them threw.
template <typename Work>
void side_by_side(std::size_t workers, Work work) {
  std::vector<std::exception_ptr> failures(workers);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < workers; ++i) {
    threads.emplace_back([&, i] {
      try {
        work(i);
      } catch (...) {
        failures[i] = std::current_exception();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  for (const auto& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
}

template <typename Item>
BenchmarkResult measure(Engine& engine, const Arguments& arguments, const std::vector<Item>& items) {
  LatencyHistogram warm_up;
  call_in_turn(engine, arguments, items, 0, kWarmUpCalls, warm_up);
  engine.reset_latency();

  LatencyHistogram calls;
  const auto workers = static_cast<std::size_t>(arguments.workers);
  const std::clock_t cpu_before = std::clock();
  const auto started = Clock::now();
  side_by_side(workers, [&](std::size_t i) {
    call_in_turn(engine, arguments, items, i * items.size() / workers, arguments.iterations, calls);
  });
  BenchmarkResult result;
  result.wall_seconds = std::chrono::duration<double>(Clock::now() - started).count();
  result.cpu_seconds = static_cast<double>(std::clock() - cpu_before) / CLOCKS_PER_SEC;
  result.images = workers * static_cast<std::size_t>(arguments.batch) * static_cast<std::size_t>(arguments.iterations);
  result.call = calls.summary();
  return result;
}

}  // namespace

BenchmarkResult run_benchmark(Engine& engine, const Arguments& arguments, const std::vector<std::string>& encoded) {
  const std::string made = encoded.empty() ? noise(engine.model()) : "";
  std::vector<ByteView> views(encoded.begin(), encoded.end());
  if (views.empty()) views.emplace_back(made);
  engine.warm_up({static_cast<std::size_t>(arguments.batch)});
  if (arguments.decode) return measure(engine, arguments, views);
  std::vector<cv::Mat> decoded(views.size());
  for (std::size_t i = 0; i < views.size(); ++i) decode_bgr(views[i], decoded[i], engine.options().max_pixels);
  return measure(engine, arguments, decoded);
}

}  // namespace manta::cli
