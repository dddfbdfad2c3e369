// The listening socket, the event loops, and an orderly end.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "manta/engine.hpp"
#include "metrics.hpp"
#include "options.hpp"
#include "shard.hpp"

namespace manta::server {

class PortInUse : public Error {
 public:
  using Error::Error;
  [[nodiscard]] int exit_code() const noexcept override { return 6; }
};

class Server {
 public:
  // Loads and warms the model, then listens. Throws manta::Error.
  explicit Server(const ServerOptions& options);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  Server(Server&&) = delete;
  Server& operator=(Server&&) = delete;

  [[nodiscard]] const Engine& engine() const noexcept { return engine_; }
  [[nodiscard]] std::uint16_t port() const;
  [[nodiscard]] int loops() const noexcept { return options_.loops; }

  // Returns after SIGTERM, SIGINT or `shut_down`, when what was accepted is answered.
  void run();

  // From any thread, and more than once.
  void shut_down();

 private:
  void listen();
  void accept();
  void take(const boost::system::error_code& error, Socket socket, Shard& shard);
  void accept_what_waits();
  Shard& next_shard();
  void drain();
  void end_now();

  ServerOptions options_;
  Engine engine_;
  Metrics metrics_;
  // Nobody waits for answers any more.
  std::atomic<bool> ended_{false};
  boost::asio::thread_pool run_threads_;
  boost::asio::thread_pool decode_threads_;
  std::vector<std::unique_ptr<Shard>> shards_;
  // Listening, signals and the end; connections are the shards'.
  boost::asio::io_context control_;
  boost::asio::ip::tcp::acceptor acceptor_;
  boost::asio::signal_set signals_;
  boost::asio::steady_timer timer_;
  std::size_t next_ = 0;
  bool draining_ = false;
};

}  // namespace manta::server
