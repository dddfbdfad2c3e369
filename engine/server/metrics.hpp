// What the server counts, from any thread, and its Prometheus text.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <string>

#include "batch_statistics.hpp"
#include "manta/engine.hpp"

namespace manta::server {

enum class Route { predict, predict_batch, health, model_info, metrics, v2, v2_infer, other };
inline constexpr std::size_t kRoutes = 8;

class Metrics {
 public:
  Metrics();

  void request(Route route, int status, std::chrono::steady_clock::duration duration) noexcept;
  void batch(const RanBatch& batch);

  BatchStatistics batches;
  std::atomic<std::int64_t> connections{0};
  std::atomic<std::int64_t> body_bytes{0};
  std::atomic<std::int64_t> waiting_pixels{0};

  [[nodiscard]] std::string text(const Engine& engine, const std::string& model_version, std::size_t queued) const;

 private:
  void put_requests(std::ostream& out) const;
  void put_stages(std::ostream& out, const Engine& engine) const;
  void put_batches(std::ostream& out, const std::string& model) const;
  void put_gauges(std::ostream& out, std::size_t queued) const;

  static constexpr std::array<int, 14> kStatuses = {200, 400, 403, 404, 405, 408, 413, 415, 431, 500, 501, 503, 504, 0};
  static constexpr std::array<std::size_t, 9> kBatchSizes = {1, 2, 4, 8, 16, 32, 64, 128, 256};

  std::chrono::steady_clock::time_point started_;
  std::array<std::array<std::atomic<std::uint64_t>, kStatuses.size()>, kRoutes> requests_{};
  LatencyHistogram seconds_;
  LatencyHistogram queue_;
  std::array<std::atomic<std::uint64_t>, kBatchSizes.size() + 1> batch_sizes_{};
  std::atomic<std::uint64_t> images_{0};
};

}  // namespace manta::server
