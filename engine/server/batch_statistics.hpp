// What the batchers did since the server started: counts and nanoseconds, added up and never reset.
//
// A reader that looks twice gets rates and means of the time between, so nothing has to be averaged here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>

#include "batcher.hpp"

namespace manta::server {

// How often something happened, and how long it took all together.
struct Duration {
  std::uint64_t count = 0;
  std::uint64_t nanoseconds = 0;

  void add(std::chrono::steady_clock::duration duration, std::uint64_t times = 1);
};

struct BatchTotals {
  // Entries that got their results; from `submit` to the results.
  Duration success;
  // Entries that were refused, failed or came too late.
  Duration fail;
  // Entries that were run, and how long they waited for it.
  Duration queue;
  // Entries that were answered, each with the whole time of the batch that it was in.
  Duration infer;
  // Batches that were answered, by their number of images.
  std::map<std::size_t, Duration> batches;
  // Images that were answered.
  std::uint64_t images = 0;
  // When the batch that ended last was begun, in milliseconds since 1970; 0 before the first.
  std::int64_t last_milliseconds = 0;
};

// From any thread.
class BatchStatistics {
 public:
  void add(const RanBatch& batch);
  // An entry that was never run.
  void add_unanswered(std::chrono::steady_clock::duration waited);
  [[nodiscard]] BatchTotals totals() const;

 private:
  mutable std::mutex mutex_;
  BatchTotals totals_;
};

}  // namespace manta::server
