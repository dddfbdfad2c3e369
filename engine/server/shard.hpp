// One event loop: its connections, its batcher, its routes. Everything of it happens in one thread.
#pragma once

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstddef>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "api.hpp"
#include "batcher.hpp"
#include "manta/engine.hpp"
#include "metrics.hpp"
#include "options.hpp"

namespace manta::server {

class Connection;

// A socket whose executor is known at compile time: half of the cost of the general one.
using Socket = boost::asio::basic_stream_socket<boost::asio::ip::tcp, boost::asio::io_context::executor_type>;

class Shard {
 public:
  struct Shared {
    const Engine& engine;
    const ServerOptions& options;
    std::string model_version;
    Metrics& metrics;
    // Images of one batch that are run in the loop itself.
    std::size_t inline_images;
    std::function<void(std::function<void()>)> run_elsewhere;
    std::function<void(std::function<void()>)> decode_elsewhere;
    std::function<std::size_t()> queued;
    std::function<bool()> ended;
  };

  explicit Shard(const Shared& shared);
  ~Shard();
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;
  Shard(Shard&&) = delete;
  Shard& operator=(Shard&&) = delete;

  [[nodiscard]] boost::asio::io_context& loop() noexcept { return loop_; }

  // Returns when the shard was drained, or stopped.
  void run();

  // From any thread: each connection ends after its next answer, or when none comes within a moment.
  void drain();
  // From any thread: ends at once.
  void stop();
  // From any thread: makes room, if a connection has been idle for a while.
  void close_longest_idle();

  // From any thread.
  [[nodiscard]] std::size_t queued() const noexcept { return batcher_.queued(); }

  // The rest is for the shard's own thread.
  void add(Socket socket);
  void remove(Connection& connection);
  [[nodiscard]] bool draining() const noexcept { return draining_; }
  [[nodiscard]] Api& api() noexcept { return api_; }
  [[nodiscard]] Metrics& metrics() noexcept { return shared_.metrics; }
  [[nodiscard]] const ServerOptions& options() const noexcept { return shared_.options; }
  [[nodiscard]] std::string new_request_id();
  // Of the answers' Date header; renewed once a second.
  [[nodiscard]] const std::string& date() const noexcept { return date_; }

 private:
  void tick();
  void close_idle();
  void finish_when_drained();
  [[nodiscard]] std::vector<std::shared_ptr<Connection>> all() const;

  Shared shared_;
  boost::asio::io_context loop_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  boost::asio::steady_timer timer_;
  boost::asio::steady_timer grace_;
  Batcher batcher_;
  Api api_;
  std::unordered_map<Connection*, std::shared_ptr<Connection>> connections_;
  std::mt19937_64 random_;
  std::string date_;
  bool draining_ = false;
  bool grace_is_over_ = false;
};

}  // namespace manta::server
