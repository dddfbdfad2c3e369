#include "manta/latency.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>
#include <vector>

namespace manta {
namespace {

using std::chrono::microseconds;
using std::chrono::nanoseconds;

TEST(Latency, NothingIsZero) {
  const LatencyHistogram histogram;
  EXPECT_EQ(histogram.summary().count, 0U);
  EXPECT_EQ(histogram.summary().p99, 0.0);
}

TEST(Latency, QuantilesAreExactToASixteenth) {
  LatencyHistogram histogram;
  for (int i = 1; i <= 1000; ++i) histogram.add(microseconds(i));
  const LatencySummary summary = histogram.summary();
  EXPECT_EQ(summary.count, 1000U);
  EXPECT_NEAR(summary.mean, 500.5e-6, 1e-9);
  EXPECT_NEAR(summary.p50, 500e-6, 500e-6 / 16);
  EXPECT_NEAR(summary.p99, 990e-6, 990e-6 / 16);
}

TEST(Latency, EveryMagnitudeHasABucketOfItsSize) {
  for (std::int64_t value = 0; value < (std::int64_t{1} << 37); value = value * 5 / 4 + 1) {
    LatencyHistogram histogram;
    histogram.add(nanoseconds(value));
    const double seconds = static_cast<double>(value) * 1e-9;
    EXPECT_GE(histogram.summary().p50, seconds * 0.9999) << value;
    EXPECT_LE(histogram.summary().p50, seconds * (1 + 1.0 / 16) + 1e-15) << value;
    EXPECT_EQ(histogram.count_at_most(seconds * 1.07 + 1e-9), 1U) << value;
    EXPECT_EQ(histogram.count_at_most(seconds * 0.99 - 1e-9), 0U) << value;
  }
}

TEST(Latency, NeverOutOfRange) {
  LatencyHistogram histogram;
  histogram.add(nanoseconds(-5));
  histogram.add(std::chrono::hours(24 * 365));
  EXPECT_EQ(histogram.summary().count, 2U);
  histogram.reset();
  EXPECT_EQ(histogram.summary().count, 0U);
}

TEST(Latency, ThreadsAddAtOnce) {
  LatencyHistogram histogram;
  std::vector<std::thread> threads(4);
  for (std::thread& thread : threads) {
    thread = std::thread([&] {
      for (int j = 0; j < 10'000; ++j) histogram.add(microseconds(j));
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(histogram.summary().count, 40'000U);
}

}  // namespace
}  // namespace manta
