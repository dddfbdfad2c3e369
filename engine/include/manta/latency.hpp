// Latency of the stages of a classification, as histograms that any thread may add to.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "manta/export.hpp"

namespace manta {

// decode: bytes -> pixels. preprocess: pixels -> input. run: ONNX Runtime. postprocess: the best classes.
// decode and preprocess count images, run and postprocess calls (of any number of images).
enum class Stage { decode, preprocess, run, postprocess };
inline constexpr std::array<Stage, 4> kStages = {Stage::decode, Stage::preprocess, Stage::run, Stage::postprocess};

[[nodiscard]] MANTA_ENGINE_EXPORT std::string_view name(Stage stage) noexcept;

struct LatencySummary {
  std::uint64_t count = 0;
  // Seconds; 0 when nothing was counted. Quantiles are exact to 1/16.
  double sum = 0;
  double mean = 0;
  double p50 = 0;
  double p99 = 0;
};

// 16 buckets for each doubling from 1 ns to 2^38 ns (275 s); adding takes two atomic additions and no lock.
class MANTA_ENGINE_EXPORT LatencyHistogram {
 public:
  using Duration = std::chrono::steady_clock::duration;

  void add(Duration duration) noexcept;
  [[nodiscard]] LatencySummary summary() const noexcept;
  // How many were at most this long, within the width of a bucket.
  [[nodiscard]] std::uint64_t count_at_most(double seconds) const noexcept;
  void reset() noexcept;

 private:
  static constexpr unsigned kSteps = 16;
  static constexpr unsigned kDoublings = 35;
  static constexpr std::size_t kBuckets = std::size_t{kSteps} * (kDoublings + 1);

  static std::size_t bucket_of(std::uint64_t nanoseconds) noexcept;
  static double upper_seconds(std::size_t bucket) noexcept;

  std::array<std::atomic<std::uint64_t>, kBuckets> counts_{};
  std::atomic<std::uint64_t> nanoseconds_{0};
};

}  // namespace manta
