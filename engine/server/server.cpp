#include "server.hpp"

#include <algorithm>
#include <atomic>
#include <boost/asio/post.hpp>
#include <chrono>
#include <csignal>
#include <iostream>

namespace manta::server {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr std::size_t kMeasuredBatch = 8;
constexpr int kMeasurements = 3;
constexpr auto kPause = std::chrono::milliseconds(50);
constexpr std::size_t kVersionDigits = 12;

ServerOptions completed(ServerOptions options) {
  options.validate();
  if (options.loops == 0) options.loops = options.engine.provider == Provider::cuda ? 1 : usable_cores();
  return options;
}

// The fastest of a few, after a warm-up.
double seconds_per_image(const Engine& engine, std::size_t max_batch) {
  engine.warm_up({1, std::min(kMeasuredBatch, max_batch), max_batch});
  const std::vector<std::uint8_t> images(kMeasuredBatch * engine.input_bytes());
  std::vector<float> probabilities(kMeasuredBatch * engine.classes());
  double best = 1e9;
  for (int i = 0; i < kMeasurements; ++i) {
    const auto started = Clock::now();
    engine.infer(images.data(), kMeasuredBatch, probabilities.data());
    best = std::min(best, std::chrono::duration<double>(Clock::now() - started).count());
  }
  return best / kMeasuredBatch;
}

}  // namespace

Server::Server(const ServerOptions& options)
    : options_(completed(options)),
      engine_(options_.model, options_.engine),
      run_threads_(static_cast<std::size_t>(options_.loops)),
      decode_threads_(static_cast<std::size_t>(options_.decode_threads)),
      acceptor_(control_),
      signals_(control_),
      timer_(control_) {
  const double run_seconds = seconds_per_image(engine_, options_.max_batch);
  const Shard::Shared shared{
      engine_,
      options_,
      options_.model_version.empty() ? engine_.model().sha256.substr(0, kVersionDigits) : options_.model_version,
      metrics_,
      static_cast<std::size_t>(options_.inline_run_seconds / run_seconds),
      [this](std::function<void()> call) { asio::post(run_threads_, std::move(call)); },
      [this](std::function<void()> call) { asio::post(decode_threads_, std::move(call)); },
      [this] {
        std::size_t queued = 0;
        for (const auto& shard : shards_) queued += shard->queued();
        return queued;
      },
      [this] { return ended_.load(std::memory_order_relaxed); },
  };
  for (int i = 0; i < options_.loops; ++i) shards_.push_back(std::make_unique<Shard>(shared));
  // Before anybody can know that it is there: what comes until `run` waits for it.
  signals_.add(SIGTERM);
  signals_.add(SIGINT);
  listen();
}

Server::~Server() {
  // Their threads call into shards and the engine. What still waits for one has nobody left to answer to.
  ended_ = true;
  run_threads_.stop();
  decode_threads_.stop();
  run_threads_.join();
  decode_threads_.join();
}

void Server::listen() {
  try {
    const tcp::endpoint endpoint(asio::ip::make_address(options_.host), options_.port);
    acceptor_.open(endpoint.protocol());
    acceptor_.set_option(tcp::acceptor::reuse_address(true));
    acceptor_.bind(endpoint);
    acceptor_.listen();
    acceptor_.non_blocking(true);
  } catch (const boost::system::system_error& error) {
    const std::string where = options_.host + ":" + std::to_string(options_.port);
    if (error.code() == asio::error::address_in_use) throw PortInUse(where + " is in use");
    throw BadInput("cannot listen on " + where + ": " + error.code().message());
  }
}

std::uint16_t Server::port() const {
  return acceptor_.local_endpoint().port();
}

Shard& Server::next_shard() {
  return *shards_[next_++ % shards_.size()];
}

void Server::accept() {
  if (static_cast<std::size_t>(metrics_.connections.load()) >= options_.max_connections) {
    for (const auto& each : shards_) each->close_longest_idle();
    timer_.expires_after(kPause);  // clients wait in the system's queue meanwhile
    timer_.async_wait([this](const error_code& error) {
      if (!error && !draining_) accept();
    });
    return;
  }
  Shard& shard = next_shard();
  acceptor_.async_accept(shard.loop(), [this, &shard](const error_code& error, Socket socket) {
    if (draining_ && error) return;
    take(error, std::move(socket), shard);
  });
}

void Server::take(const error_code& error, Socket socket, Shard& shard) {
  if (!error) {
    asio::post(shard.loop(), [&shard, moved = std::move(socket)]() mutable { shard.add(std::move(moved)); });
    if (!draining_) accept();
    return;
  }
  // Out of file descriptors, or the client has left already.
  timer_.expires_after(kPause);
  timer_.async_wait([this](const error_code& cancelled) {
    if (!cancelled && !draining_) accept();
  });
}

// Connections that the system has accepted for us: they count as accepted.
void Server::accept_what_waits() {
  while (true) {
    Shard& shard = next_shard();
    Socket socket(shard.loop());
    error_code error;
    acceptor_.accept(socket, error);
    if (error) return;
    asio::post(shard.loop(), [&shard, moved = std::move(socket)]() mutable { shard.add(std::move(moved)); });
  }
}

void Server::drain() {
  if (draining_) return;
  draining_ = true;
  error_code ignored;
  accept_what_waits();
  acceptor_.close(ignored);
  // Behind what the closed acceptor has still to tell: its last connection must reach a loop that has not ended.
  asio::post(control_, [this] {
    for (const auto& shard : shards_) shard->drain();
  });
  timer_.expires_after(
      std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(options_.drain_seconds)));
  timer_.async_wait([this](const error_code& cancelled) {
    if (cancelled) return;
    std::cerr << "requests took longer than the time to drain, and are cut off" << std::endl;
    end_now();
  });
}

void Server::end_now() {
  ended_ = true;
  for (const auto& shard : shards_) shard->stop();
}

void Server::shut_down() {
  asio::post(control_, [this] { drain(); });
}

void Server::run() {
  signals_.async_wait([this](const error_code& error, int) {
    if (error) return;
    drain();
    signals_.async_wait([this](const error_code& cancelled, int) {  // a second one does not want to wait
      if (!cancelled) end_now();
    });
  });
  accept();
  std::vector<std::thread> threads;
  std::atomic<std::size_t> running{shards_.size()};
  for (const auto& shard : shards_) {
    threads.emplace_back([this, &running, &loop = *shard] {
      loop.run();
      if (--running == 0) {
        asio::post(control_, [this] {
          error_code ignored;
          signals_.cancel(ignored);
          timer_.cancel();
        });
      }
    });
  }
  control_.run();
  for (std::thread& thread : threads) thread.join();
}

}  // namespace manta::server
