#include "shard.hpp"

#include <array>
#include <boost/asio/post.hpp>
#include <chrono>
#include <ctime>
#include <exception>
#include <iostream>

#include "connection.hpp"

namespace manta::server {
namespace {

// How often silent connections and images that waited too long are looked for.
constexpr auto kTick = std::chrono::seconds(1);
// A connection that waits for a shorter time may have its next request on the way.
constexpr auto kIdle = std::chrono::seconds(1);
// At the end: for requests that were sent before their clients could know of it.
constexpr auto kGrace = std::chrono::milliseconds(200);

std::string http_date() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  std::array<char, 64> text{};
  const std::size_t length = std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &utc);
  return {text.data(), length};
}

Clock::duration seconds(double value) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(value));
}

}  // namespace

Shard::Shard(const Shared& shared)
    : shared_(shared),
      loop_(1),
      work_(loop_.get_executor()),
      timer_(loop_),
      grace_(loop_),
      batcher_({
                   [this](const std::uint8_t* images, std::size_t count, float* probabilities) {
                     shared_.engine.infer(images, count, probabilities);
                   },
                   [this](std::function<void()> call) { boost::asio::post(loop_, std::move(call)); },
                   shared.run_elsewhere,
                   [this](const RanBatch& batch) { shared_.metrics.batch(batch); },
                   [this](Clock::duration waited) { shared_.metrics.batches.add_unanswered(waited); },
                   shared.queued,
               },
               {shared.options.max_batch, shared.options.max_queued_images, seconds(shared.options.queue_seconds),
                shared.inline_images},
               shared.engine.input_bytes(), shared.engine.classes()),
      api_(shared.engine, batcher_, shared.metrics,
           {shared.options.max_images, shared.options.max_body_bytes, shared.options.inline_pixels,
            shared.options.max_pixels_in_all, shared.options.max_body_bytes_in_all,
            seconds(shared.options.queue_seconds)},
           shared.model_version,
           {
               [this](std::function<void()> call) { boost::asio::post(loop_, std::move(call)); },
               shared.decode_elsewhere,
               shared.queued,
               shared.ended,
           }),
      random_(std::random_device()()),
      date_(http_date()) {}

Shard::~Shard() = default;

void Shard::run() {
  bool ticks = false;
  while (true) {
    try {
      if (!ticks) {
        ticks = true;
        tick();
      }
      loop_.run();
      return;
    } catch (const std::exception& error) {  // no memory, say: the other connections go on
      std::cerr << "an event failed: " << error.what() << std::endl;
    }
  }
}

void Shard::tick() {
  timer_.expires_after(kTick);  // first of all: whatever fails below is tried again
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error && work_.owns_work()) tick();
  });
  date_ = http_date();
  batcher_.expire();
  const auto now = Clock::now();
  for (const auto& connection : all()) connection->check_deadline(now);
}

void Shard::add(Socket socket) {
  auto connection = std::make_shared<Connection>(*this, std::move(socket));
  connections_.emplace(connection.get(), connection);
  shared_.metrics.connections.fetch_add(1, std::memory_order_relaxed);
  connection->start();
  if (grace_is_over_) connection->drain();
}

// A copy: closing a connection takes it out of the map.
std::vector<std::shared_ptr<Connection>> Shard::all() const {
  std::vector<std::shared_ptr<Connection>> copy;
  copy.reserve(connections_.size());
  for (const auto& entry : connections_) copy.push_back(entry.second);
  return copy;
}

void Shard::remove(Connection& connection) {
  connections_.erase(&connection);
  shared_.metrics.connections.fetch_sub(1, std::memory_order_relaxed);
  finish_when_drained();
}

void Shard::drain() {
  boost::asio::post(loop_, [this] {
    draining_ = true;
    grace_.expires_after(kGrace);
    grace_.async_wait([this](const boost::system::error_code& cancelled) {
      if (!cancelled) close_idle();
    });
    finish_when_drained();
  });
}

void Shard::close_idle() {
  grace_is_over_ = true;
  for (const auto& connection : all()) connection->drain();
}

void Shard::finish_when_drained() {
  if (!draining_ || !connections_.empty()) return;
  timer_.cancel();
  grace_.cancel();
  work_.reset();
}

void Shard::close_longest_idle() {
  boost::asio::post(loop_, [this] {
    auto longest = Clock::now() - kIdle;
    Connection* found = nullptr;
    for (const auto& entry : connections_) {
      const auto since = entry.first->idle_since();
      if (!since || *since > longest) continue;
      longest = *since;
      found = entry.first;
    }
    if (found != nullptr) found->drain();
  });
}

void Shard::stop() {
  loop_.stop();
}

// 128 random bits, written as Python's uuid4().hex.
std::string Shard::new_request_id() {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string id;
  id.reserve(32);
  for (int half = 0; half < 2; ++half) {
    std::uint64_t bits = random_();
    if (half == 0) bits = (bits & ~(std::uint64_t{0xF} << 12U)) | std::uint64_t{4} << 12U;  // version 4
    if (half == 1) bits = (bits & ~(std::uint64_t{3} << 62U)) | std::uint64_t{2} << 62U;    // variant of RFC 9562
    for (unsigned shift = 64; shift > 0; shift -= 4) id += kDigits[bits >> (shift - 4) & 0xFU];
  }
  return id;
}

}  // namespace manta::server
