#include "manta/latency.hpp"

#include <algorithm>
#include <cmath>

namespace manta {
namespace {

constexpr unsigned kStepBits = 4;  // 16 steps a doubling
constexpr auto kRelaxed = std::memory_order_relaxed;

unsigned highest_bit(std::uint64_t value) noexcept {
  unsigned bit = 0;
  while (value >>= 1U) ++bit;
  return bit;
}

}  // namespace

std::string_view name(Stage stage) noexcept {
  constexpr std::array<std::string_view, kStages.size()> kNames = {"decode", "preprocess", "run", "postprocess"};
  return kNames[static_cast<std::size_t>(stage)];
}

// Values below 16 have a bucket each; above, the four bits below the highest one choose the step of its doubling.
std::size_t LatencyHistogram::bucket_of(std::uint64_t nanoseconds) noexcept {
  if (nanoseconds < kSteps) return static_cast<std::size_t>(nanoseconds);
  const unsigned shift = highest_bit(nanoseconds) - kStepBits;
  const std::size_t bucket = (std::size_t{shift} << kStepBits) + static_cast<std::size_t>(nanoseconds >> shift);
  return std::min(bucket, kBuckets - 1);
}

double LatencyHistogram::upper_seconds(std::size_t bucket) noexcept {
  if (bucket < kSteps) return static_cast<double>(bucket) * 1e-9;
  const std::size_t shift = (bucket >> kStepBits) - 1;
  const std::uint64_t lower = std::uint64_t{bucket - (shift << kStepBits)} << shift;
  return static_cast<double>(lower + (std::uint64_t{1} << shift) - 1) * 1e-9;
}

void LatencyHistogram::add(Duration duration) noexcept {
  const auto ticks = std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count();
  const auto nanoseconds = static_cast<std::uint64_t>(std::max<decltype(ticks)>(ticks, 0));
  counts_[bucket_of(nanoseconds)].fetch_add(1, kRelaxed);
  nanoseconds_.fetch_add(nanoseconds, kRelaxed);
}

LatencySummary LatencyHistogram::summary() const noexcept {
  std::array<std::uint64_t, kBuckets> counts{};
  LatencySummary result;
  for (std::size_t i = 0; i < kBuckets; ++i) {
    counts[i] = counts_[i].load(kRelaxed);
    result.count += counts[i];
  }
  if (result.count == 0) return result;
  result.sum = static_cast<double>(nanoseconds_.load(kRelaxed)) * 1e-9;
  result.mean = result.sum / static_cast<double>(result.count);
  const auto quantile = [&](double share) {
    const auto rank = static_cast<std::uint64_t>(std::ceil(share * static_cast<double>(result.count)));
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < kBuckets; ++i) {
      seen += counts[i];
      if (seen >= rank) return upper_seconds(i);
    }
    return upper_seconds(kBuckets - 1);
  };
  result.p50 = quantile(0.50);
  result.p99 = quantile(0.99);
  return result;
}

std::uint64_t LatencyHistogram::count_at_most(double seconds) const noexcept {
  std::uint64_t count = 0;
  for (std::size_t i = 0; i < kBuckets && upper_seconds(i) <= seconds; ++i) count += counts_[i].load(kRelaxed);
  return count;
}

void LatencyHistogram::reset() noexcept {
  for (auto& count : counts_) count.store(0, kRelaxed);
  nanoseconds_.store(0, kRelaxed);
}

}  // namespace manta
