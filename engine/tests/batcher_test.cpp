// The batcher with a model that adds one: no HTTP, no threads, and a clock that only the time-out needs.
#include "batcher.hpp"

#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "batch_statistics.hpp"

namespace manta::server {
namespace {

struct Entry : BatchEntry {
  explicit Entry(std::vector<std::uint8_t> values) : pixels(std::move(values)), answers(pixels.size()) {
    images = pixels.data();
    count = pixels.size();
    probabilities = answers.data();
  }
  void on_batch(BatchOutcome outcome) override {
    outcomes.push_back(outcome);
    if (then) then();
  }
  std::vector<std::uint8_t> pixels;
  std::vector<float> answers;
  std::vector<BatchOutcome> outcomes;
  std::function<void()> then;
};

struct Fixture {
  explicit Fixture(BatchLimits limits = {})
      : batcher({
                    [this](const std::uint8_t* images, std::size_t count, float* probabilities) {
                      if (fails) throw std::runtime_error("the model is broken");
                      sizes.push_back(count);
                      for (std::size_t i = 0; i < count; ++i) probabilities[i] = static_cast<float>(images[i] + 1);
                    },
                    [this](std::function<void()> call) { later.push_back(std::move(call)); },
                    [this](std::function<void()> call) { elsewhere.push_back(std::move(call)); },
                    [this](const RanBatch& batch) {
                      if (counting_fails) throw std::bad_alloc();
                      ran.push_back(batch);
                    },
                    [this](std::chrono::steady_clock::duration) {
                      if (counting_fails) throw std::bad_alloc();
                      ++unanswered;
                    },
                    [this] { return batcher.queued() + queued_beside; },
                },
                limits, 1, 1) {}

  static bool run_one(std::deque<std::function<void()>>& queue) {
    if (queue.empty()) return false;
    const auto call = std::move(queue.front());
    queue.pop_front();
    call();
    return true;
  }
  void run_all() {
    while (run_one(later) || run_one(elsewhere)) {
    }
  }

  std::deque<std::function<void()>> later;
  std::deque<std::function<void()>> elsewhere;
  std::vector<std::size_t> sizes;
  std::vector<RanBatch> ran;
  int unanswered = 0;
  std::size_t queued_beside = 0;
  bool fails = false;
  bool counting_fails = false;
  Batcher batcher;
};

using Outcomes = std::vector<BatchOutcome>;
using Sizes = std::vector<std::size_t>;

TEST(Batcher, ALoneEntryIsRunByItself) {
  Fixture fixture;
  Entry entry({41});
  ASSERT_TRUE(fixture.batcher.submit(entry));
  EXPECT_EQ(fixture.batcher.queued(), 1U);
  fixture.run_all();
  EXPECT_EQ(entry.answers, std::vector<float>{42});
  EXPECT_EQ(entry.outcomes, Outcomes{BatchOutcome::answered});
  EXPECT_EQ(fixture.batcher.queued(), 0U);
}

TEST(Batcher, WhatWaitsTogetherRunsTogetherAndEachGetsItsOwn) {
  Fixture fixture;
  Entry one({1});
  Entry two({2, 3});
  Entry three({4});
  for (Entry* entry : {&one, &two, &three}) ASSERT_TRUE(fixture.batcher.submit(*entry));
  fixture.run_all();
  EXPECT_EQ(fixture.sizes, Sizes{4});
  EXPECT_EQ(one.answers, std::vector<float>{2});
  EXPECT_EQ(two.answers, (std::vector<float>{3, 4}));
  EXPECT_EQ(three.answers, std::vector<float>{5});
}

TEST(Batcher, WhatItDidIsTold) {
  Fixture fixture({8, 3, std::chrono::seconds(10), 8});
  Entry one({1, 2});
  Entry two({3});
  Entry refused({4});
  ASSERT_TRUE(fixture.batcher.submit(one));
  ASSERT_TRUE(fixture.batcher.submit(two));
  EXPECT_FALSE(fixture.batcher.submit(refused));
  fixture.run_all();
  EXPECT_EQ(fixture.unanswered, 1);
  ASSERT_EQ(fixture.ran.size(), 1U);
  const RanBatch& ran = fixture.ran[0];
  EXPECT_EQ(ran.entries, 2U);
  EXPECT_EQ(ran.images, 3U);
  EXPECT_TRUE(ran.answered);
  EXPECT_GT(ran.took.count(), 0);
  EXPECT_GE(ran.waited_in_all, ran.longest_wait);
}

TEST(Batcher, StatisticsAddUp) {
  using std::chrono::milliseconds;
  BatchStatistics statistics;
  statistics.add({2, 5, milliseconds(3), milliseconds(4), milliseconds(10), true});
  statistics.add({1, 5, milliseconds(1), milliseconds(1), milliseconds(20), true});
  statistics.add({1, 9, milliseconds(1), milliseconds(1), milliseconds(7), false});
  statistics.add_unanswered(milliseconds(50));
  const BatchTotals totals = statistics.totals();
  EXPECT_EQ(totals.images, 10U);
  EXPECT_EQ(totals.success.count, 3U);
  EXPECT_EQ(totals.success.nanoseconds, 45'000'000U);  // 4 + 2 * 10, and 1 + 20
  EXPECT_EQ(totals.fail.count, 2U);
  EXPECT_EQ(totals.fail.nanoseconds, 58'000'000U);
  EXPECT_EQ(totals.queue.nanoseconds, 6'000'000U);
  EXPECT_EQ(totals.infer.nanoseconds, 40'000'000U);
  ASSERT_EQ(totals.batches.size(), 1U);
  EXPECT_EQ(totals.batches.at(5).count, 2U);
  EXPECT_EQ(totals.batches.at(5).nanoseconds, 30'000'000U);
  EXPECT_GT(totals.last_milliseconds, 1'700'000'000'000);
}

TEST(Batcher, ARunHasAtMostSoManyImages) {
  Fixture fixture({4, 100, std::chrono::seconds(10), 100});
  Entry one({1, 1, 1});
  Entry two({2, 2});
  Entry large(std::vector<std::uint8_t>(9, 3));
  Entry last({4});
  for (Entry* entry : {&one, &two, &large, &last}) ASSERT_TRUE(fixture.batcher.submit(*entry));
  fixture.run_all();
  EXPECT_EQ(fixture.sizes, (Sizes{3, 2, 4, 4, 1, 1}));  // the large one alone, in pieces
  EXPECT_EQ(large.answers, std::vector<float>(9, 4));
}

TEST(Batcher, MoreThanMayWaitIsRefused) {
  Fixture fixture({32, 3, std::chrono::seconds(10), 32});
  Entry one({1, 2});
  Entry two({3, 4});
  Entry three({5});
  EXPECT_TRUE(fixture.batcher.submit(one));
  EXPECT_FALSE(fixture.batcher.submit(two));
  EXPECT_TRUE(fixture.batcher.submit(three));
  fixture.run_all();
  EXPECT_TRUE(two.outcomes.empty());
  EXPECT_TRUE(fixture.batcher.submit(two));
  fixture.run_all();
  EXPECT_EQ(two.answers, (std::vector<float>{4, 5}));
}

TEST(Batcher, WhatWaitsInOtherBatchersCountsToo) {
  Fixture fixture({32, 3, std::chrono::seconds(10), 32});
  fixture.queued_beside = 2;
  Entry one({1});
  Entry two({2});
  EXPECT_TRUE(fixture.batcher.submit(one));
  EXPECT_FALSE(fixture.batcher.submit(two));
}

TEST(Batcher, ALongRunIsMadeElsewhereAndBatchesGrowMeanwhile) {
  Fixture fixture({8, 100, std::chrono::seconds(10), 0});
  Entry one({1});
  Entry two({2});
  Entry three({3});
  ASSERT_TRUE(fixture.batcher.submit(one));
  Fixture::run_one(fixture.later);
  ASSERT_EQ(fixture.elsewhere.size(), 1U);
  ASSERT_TRUE(fixture.batcher.submit(two));
  ASSERT_TRUE(fixture.batcher.submit(three));
  EXPECT_TRUE(fixture.later.empty());  // one run at a time
  fixture.run_all();
  EXPECT_EQ(fixture.sizes, (Sizes{1, 2}));
  EXPECT_EQ(three.answers, std::vector<float>{4});
}

TEST(Batcher, AFailedRunFailsItsEntriesAndNoOthers) {
  Fixture fixture;
  Entry one({1});
  Entry two({2});
  ASSERT_TRUE(fixture.batcher.submit(one));
  fixture.fails = true;
  fixture.run_all();
  EXPECT_EQ(one.outcomes, Outcomes{BatchOutcome::failed});
  fixture.fails = false;
  ASSERT_TRUE(fixture.batcher.submit(two));
  fixture.run_all();
  EXPECT_EQ(two.outcomes, Outcomes{BatchOutcome::answered});
}

TEST(Batcher, EntriesAreAnsweredAlsoWhenNothingCanBeCounted) {
  Fixture fixture({8, 100, std::chrono::seconds(0), 8});
  fixture.counting_fails = true;
  Entry late({1});
  ASSERT_TRUE(fixture.batcher.submit(late));
  fixture.run_all();
  EXPECT_EQ(late.outcomes, Outcomes{BatchOutcome::timed_out});
  Fixture other;
  other.counting_fails = true;
  Entry one({1});
  Entry two({2});
  ASSERT_TRUE(other.batcher.submit(one));
  ASSERT_TRUE(other.batcher.submit(two));
  other.run_all();
  EXPECT_EQ(one.outcomes, Outcomes{BatchOutcome::answered});
  EXPECT_EQ(two.outcomes, Outcomes{BatchOutcome::answered});
}

TEST(Batcher, WhatWaitedTooLongIsToldSo) {
  Fixture fixture({8, 100, std::chrono::milliseconds(1), 0});
  Entry running({1});
  Entry waiting({2});
  ASSERT_TRUE(fixture.batcher.submit(running));
  Fixture::run_one(fixture.later);
  ASSERT_TRUE(fixture.batcher.submit(waiting));
  while (waiting.outcomes.empty()) {
    std::this_thread::yield();
    fixture.batcher.expire();
  }
  EXPECT_EQ(waiting.outcomes, Outcomes{BatchOutcome::timed_out});
  EXPECT_TRUE(running.outcomes.empty());
  fixture.run_all();
  EXPECT_EQ(running.outcomes, Outcomes{BatchOutcome::answered});
  EXPECT_EQ(waiting.outcomes.size(), 1U);
}

TEST(Batcher, AnAnsweredEntryMaySubmitTheNextOneAtOnce) {
  Fixture fixture;
  Entry first({1});
  Entry second({2});
  Entry next({3});
  first.then = [&] { ASSERT_TRUE(fixture.batcher.submit(next)); };
  ASSERT_TRUE(fixture.batcher.submit(first));
  ASSERT_TRUE(fixture.batcher.submit(second));
  fixture.run_all();
  EXPECT_EQ(fixture.sizes, (Sizes{2, 1}));
  EXPECT_EQ(next.answers, std::vector<float>{4});
}

}  // namespace
}  // namespace manta::server
