#include "batch_statistics.hpp"

namespace manta::server {

void Duration::add(std::chrono::steady_clock::duration duration, std::uint64_t times) {
  count += times;
  const auto ticks = std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count();
  nanoseconds += ticks > 0 ? static_cast<std::uint64_t>(ticks) : 0;
}

void BatchStatistics::add(const RanBatch& batch) {
  const auto begun =
      std::chrono::system_clock::now() - std::chrono::duration_cast<std::chrono::system_clock::duration>(batch.took);
  const auto entries = static_cast<std::int64_t>(batch.entries);
  const auto until_the_end = batch.waited_in_all + batch.took * entries;
  const std::lock_guard<std::mutex> lock(mutex_);
  totals_.last_milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(begun.time_since_epoch()).count();
  totals_.queue.add(batch.waited_in_all, batch.entries);
  if (!batch.answered) {
    totals_.fail.add(until_the_end, batch.entries);
    return;
  }
  totals_.success.add(until_the_end, batch.entries);
  totals_.infer.add(batch.took * entries, batch.entries);
  totals_.batches[batch.images].add(batch.took);
  totals_.images += batch.images;
}

void BatchStatistics::add_unanswered(std::chrono::steady_clock::duration waited) {
  const std::lock_guard<std::mutex> lock(mutex_);
  totals_.fail.add(waited);
}

BatchTotals BatchStatistics::totals() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return totals_;
}

}  // namespace manta::server
