// `manta-engine --benchmark`.
#pragma once

#include <string>
#include <vector>

#include "arguments.hpp"
#include "manta/engine.hpp"

namespace manta::cli {

struct BenchmarkResult {
  std::size_t images = 0;
  double wall_seconds = 0;
  // Of this process, all threads.
  double cpu_seconds = 0;
  // Of one call, which carries `batch` images. p50 and p99 are exact to 1/16.
  LatencySummary call;
};

// `encoded`: images that are classified in turn; without any, one of noise at the input size. All can be decoded.
[[nodiscard]] BenchmarkResult run_benchmark(Engine& engine, const Arguments& arguments,
                                            const std::vector<std::string>& encoded);

}  // namespace manta::cli
