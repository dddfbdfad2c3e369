#include "batcher.hpp"

#include <algorithm>
#include <exception>
#include <iostream>
#include <utility>

namespace manta::server {

using Clock = std::chrono::steady_clock;

namespace {

// What is counted must not keep entries from their answers: it may fail for want of memory.
template <typename Observe>
void observed(Observe observe) noexcept {
  try {
    observe();
  } catch (const std::exception& error) {
    std::cerr << "a batch was not counted: " << error.what() << std::endl;
  }
}

}  // namespace

Batcher::Batcher(Hooks hooks, BatchLimits limits, std::size_t input_bytes, std::size_t classes)
    : hooks_(std::move(hooks)), limits_(limits), input_bytes_(input_bytes), classes_(classes) {
  batch_.reserve(limits_.max_batch);  // entries; so that none is lost where memory is short
}

bool Batcher::submit(BatchEntry& entry) {
  if (hooks_.queued_in_all() + entry.count > limits_.max_queued) {
    observed([this] { hooks_.observe_unanswered(Clock::duration::zero()); });
    return false;
  }
  entry.submitted = Clock::now();
  waiting_.push_back(&entry);
  queued_ += entry.count;
  schedule();
  return true;
}

void Batcher::schedule() {
  if (scheduled_ || running_ || waiting_.empty()) return;
  scheduled_ = true;
  hooks_.later([this] { pump(); });
}

void Batcher::pump() {
  scheduled_ = false;
  if (running_) return;
  expire();
  if (waiting_.empty()) return;
  take_batch();
  if (ran_.images <= limits_.inline_images) {
    run();
    finish();
    return;
  }
  running_ = true;
  hooks_.elsewhere([this] {
    run();
    hooks_.later([this] {
      running_ = false;
      finish();
    });
  });
}

void Batcher::take_batch() {
  batch_.clear();
  ran_ = RanBatch();
  const auto now = Clock::now();
  while (!waiting_.empty()) {
    BatchEntry* entry = waiting_.front();
    if (!batch_.empty() && ran_.images + entry->count > limits_.max_batch) break;
    waiting_.pop_front();
    batch_.push_back(entry);
    ran_.images += entry->count;
    ran_.waited_in_all += now - entry->submitted;
  }
  ran_.entries = batch_.size();
  ran_.longest_wait = now - batch_.front()->submitted;
  queued_ -= ran_.images;
}

void Batcher::run() noexcept {
  const auto started = Clock::now();
  try {
    run_batch();
    ran_.answered = true;
  } catch (const std::exception& error) {
    std::cerr << "a batch of " << ran_.images << " failed: " << error.what() << std::endl;
  }
  ran_.took = Clock::now() - started;
}

// A lone entry is run where it lies.
void Batcher::run_batch() {
  if (batch_.size() == 1) {
    run_in_pieces(batch_[0]->images, batch_[0]->count, batch_[0]->probabilities);
    return;
  }
  gather();
  run_in_pieces(images_.data(), ran_.images, probabilities_.data());
  scatter();
}

// A single entry larger than a batch is run in pieces: the memory of a run grows with its images, and stays taken.
void Batcher::run_in_pieces(const std::uint8_t* images, std::size_t count, float* probabilities) {
  for (std::size_t at = 0; at < count; at += limits_.max_batch) {
    hooks_.run(images + at * input_bytes_, std::min(limits_.max_batch, count - at), probabilities + at * classes_);
  }
}

void Batcher::gather() {
  images_.resize(ran_.images * input_bytes_);
  probabilities_.resize(ran_.images * classes_);
  std::uint8_t* to = images_.data();
  for (const BatchEntry* entry : batch_) to = std::copy_n(entry->images, entry->count * input_bytes_, to);
}

void Batcher::scatter() const {
  const float* from = probabilities_.data();
  for (const BatchEntry* entry : batch_) {
    std::copy_n(from, entry->count * classes_, entry->probabilities);
    from += entry->count * classes_;
  }
}

void Batcher::finish() {
  observed([this] { hooks_.observe(ran_); });
  // An answered entry may submit the next one at once; that only schedules, and leaves the batch alone.
  for (BatchEntry* entry : batch_) entry->on_batch(ran_.answered ? BatchOutcome::answered : BatchOutcome::failed);
  batch_.clear();
  schedule();
}

void Batcher::expire() {
  const auto now = Clock::now();
  while (!waiting_.empty() && waiting_.front()->submitted <= now - limits_.timeout) {  // in order of arrival
    BatchEntry* entry = waiting_.front();
    waiting_.pop_front();
    queued_ -= entry->count;
    observed([&] { hooks_.observe_unanswered(now - entry->submitted); });
    entry->on_batch(BatchOutcome::timed_out);
  }
}

}  // namespace manta::server
