#include "batcher.hpp"

#include <algorithm>
#include <exception>
#include <iostream>
#include <utility>

namespace manta::server {

using Clock = std::chrono::steady_clock;

Batcher::Batcher(Hooks hooks, BatchLimits limits, std::size_t input_bytes, std::size_t classes)
    : hooks_(std::move(hooks)), limits_(limits), input_bytes_(input_bytes), classes_(classes) {}

bool Batcher::submit(BatchEntry& entry) {
  if (queued() + entry.count > limits_.max_queued) return false;
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
  hooks_.observe(batch_images_, Clock::now() - batch_.front()->submitted);
  if (batch_images_ <= limits_.inline_images) {
    finish(run());
    return;
  }
  running_ = true;
  hooks_.elsewhere([this] {
    const bool succeeded = run();
    hooks_.later([this, succeeded] {
      running_ = false;
      finish(succeeded);
    });
  });
}

void Batcher::take_batch() {
  batch_.clear();
  batch_images_ = 0;
  while (!waiting_.empty()) {
    BatchEntry* entry = waiting_.front();
    if (!batch_.empty() && batch_images_ + entry->count > limits_.max_batch) break;
    waiting_.pop_front();
    batch_.push_back(entry);
    batch_images_ += entry->count;
  }
  queued_ -= batch_images_;
}

// A single entry larger than a batch is run in pieces: the memory of a run grows with its images, and stays taken.
void Batcher::run_in_pieces(const std::uint8_t* images, std::size_t count, float* probabilities) {
  for (std::size_t at = 0; at < count; at += limits_.max_batch) {
    hooks_.run(images + at * input_bytes_, std::min(limits_.max_batch, count - at), probabilities + at * classes_);
  }
}

bool Batcher::run() noexcept {
  try {
    if (batch_.size() == 1) {
      run_in_pieces(batch_[0]->images, batch_[0]->count, batch_[0]->probabilities);
      return true;
    }
    images_.resize(batch_images_ * input_bytes_);
    probabilities_.resize(batch_images_ * classes_);
    std::size_t at = 0;
    for (const BatchEntry* entry : batch_) {
      std::copy_n(entry->images, entry->count * input_bytes_, &images_[at * input_bytes_]);
      at += entry->count;
    }
    run_in_pieces(images_.data(), batch_images_, probabilities_.data());
    at = 0;
    for (const BatchEntry* entry : batch_) {
      std::copy_n(&probabilities_[at * classes_], entry->count * classes_, entry->probabilities);
      at += entry->count;
    }
    return true;
  } catch (const std::exception& error) {
    std::cerr << "a batch of " << batch_images_ << " failed: " << error.what() << std::endl;
    return false;
  }
}

void Batcher::finish(bool succeeded) {
  // An answered entry may submit the next one at once; that only schedules, and leaves the batch alone.
  for (BatchEntry* entry : batch_) entry->on_batch(succeeded ? BatchOutcome::answered : BatchOutcome::failed);
  batch_.clear();
  schedule();
}

void Batcher::expire() {
  const auto too_old = Clock::now() - limits_.timeout;
  while (!waiting_.empty() && waiting_.front()->submitted <= too_old) {  // in order of arrival
    BatchEntry* entry = waiting_.front();
    waiting_.pop_front();
    queued_ -= entry->count;
    entry->on_batch(BatchOutcome::timed_out);
  }
}

}  // namespace manta::server
