// Batching without a timer: whatever waits when a run may start is the next batch.
//
// A lone entry is run as soon as the requests that are ready at the same moment were read, and under load batches grow
// by themselves. A short run is made right here; a long one in another thread, one at a time.
//
// No HTTP, no model and no threads in here. Everything is called from one thread; `Hooks` lead to others.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <vector>

namespace manta::server {

enum class BatchOutcome { answered, timed_out, failed };

// What one caller hands in at once; it is never split between batches.
class BatchEntry {
 public:
  BatchEntry() = default;
  virtual ~BatchEntry() = default;
  BatchEntry(const BatchEntry&) = delete;
  BatchEntry& operator=(const BatchEntry&) = delete;
  BatchEntry(BatchEntry&&) = delete;
  BatchEntry& operator=(BatchEntry&&) = delete;

  // uint8 [count, height, width, 3]
  const std::uint8_t* images = nullptr;
  std::size_t count = 0;
  // float32 [count, classes], written before `on_batch(answered)`.
  float* probabilities = nullptr;
  std::chrono::steady_clock::time_point submitted;

  // Called once for each entry that `submit` took. The entry must live until then. Must not throw.
  virtual void on_batch(BatchOutcome outcome) = 0;
};

struct BatchLimits {
  // Images in one run.
  std::size_t max_batch = 8;
  // Images that may wait, in all batchers together.
  std::size_t max_queued = 1024;
  std::chrono::steady_clock::duration timeout = std::chrono::seconds(10);
  // A batch of more images than this is run elsewhere.
  std::size_t inline_images = 32;
};

// A batch after it was run.
struct RanBatch {
  using Duration = std::chrono::steady_clock::duration;

  std::size_t entries = 0;
  std::size_t images = 0;
  // Until it was run: the entry that waited longest, and all together.
  Duration longest_wait{0};
  Duration waited_in_all{0};
  Duration took{0};
  bool answered = false;
};

class Batcher {
 public:
  struct Hooks {
    // Runs `count` images; may throw.
    std::function<void(const std::uint8_t* images, std::size_t count, float* probabilities)> run;
    // Calls back on the batcher's own thread, after what is ready now. May be called from any thread.
    std::function<void(std::function<void()>)> later;
    // Calls on another thread.
    std::function<void(std::function<void()>)> elsewhere;
    // Told of each batch before its entries are.
    std::function<void(const RanBatch& batch)> observe;
    // Told of each entry that is not run: refused, or waited too long.
    std::function<void(std::chrono::steady_clock::duration waited)> observe_unanswered;
    // Images that wait in this batcher and in those beside it.
    std::function<std::size_t()> queued_in_all;
  };

  Batcher(Hooks hooks, BatchLimits limits, std::size_t input_bytes, std::size_t classes);

  // False when too many images wait already.
  [[nodiscard]] bool submit(BatchEntry& entry);

  // Ends entries that waited too long. Called now and then.
  void expire();

  // Images that wait for a run. From any thread.
  [[nodiscard]] std::size_t queued() const noexcept { return queued_.load(std::memory_order_relaxed); }

 private:
  void schedule();
  void pump();
  void take_batch();
  void run_in_pieces(const std::uint8_t* images, std::size_t count, float* probabilities);
  void run() noexcept;
  void run_batch();
  void gather();
  void scatter() const;
  void finish();

  Hooks hooks_;
  BatchLimits limits_;
  std::size_t input_bytes_;
  std::size_t classes_;
  std::deque<BatchEntry*> waiting_;
  std::atomic<std::size_t> queued_{0};
  bool scheduled_ = false;
  bool running_ = false;
  // The batch being run; of several entries it is gathered here.
  std::vector<BatchEntry*> batch_;
  RanBatch ran_;
  std::vector<std::uint8_t> images_;
  std::vector<float> probabilities_;
};

}  // namespace manta::server
