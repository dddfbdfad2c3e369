// One client: reads requests with Boost.Beast's parser, one after the other, and writes answers.
#pragma once

#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <memory>
#include <optional>

#include "exchange.hpp"
#include "shard.hpp"

namespace manta::server {

class Connection final : public Exchange, public std::enable_shared_from_this<Connection> {
 public:
  Connection(Shard& shard, Socket socket);
  ~Connection() override;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  Connection(Connection&&) = delete;
  Connection& operator=(Connection&&) = delete;

  void start();
  // Closes it if it has been silent for too long.
  void check_deadline(Clock::time_point now);
  // Closes it if no request is on its way.
  void drain();
  // Since when it waits for a request; nothing when it does not.
  [[nodiscard]] std::optional<Clock::time_point> idle_since() const;

  [[nodiscard]] bool charge(std::size_t bytes) override;
  void send() override;
  void on_batch(BatchOutcome outcome) override;

 private:
  using Body = boost::beast::http::string_body;
  using Parser = boost::beast::http::request_parser<Body>;
  enum class State { reading, handling, writing, lingering, closed };
  // Of a request that is being read.
  enum class Part { nothing, header, body };

  void begin_request();
  void read();
  void read_the_last();
  void parse();
  bool has_begun() const { return part_ != Part::nothing; }
  void limit_reading();
  void refuse(int status, std::string_view detail);
  void refuse(const boost::system::error_code& error);
  bool check_transfer_encoding();
  bool charge_body();
  void release_body();
  void send_continue();
  void fill_request();
  void write();
  void on_written(const boost::system::error_code& error);
  std::size_t kept_bytes() const;
  void release_memory();
  void linger();
  void discard();
  void close();
  void extend(double seconds);

  Shard& shard_;
  Socket socket_;
  boost::beast::flat_buffer buffer_;
  std::optional<Parser> parser_;
  std::string kept_body_;
  boost::beast::http::response<Body> message_;
  State state_ = State::closed;
  Part part_ = Part::nothing;
  // When `part_` began.
  Clock::time_point since_;
  Clock::time_point deadline_;
  std::size_t charged_bytes_ = 0;
  std::size_t discarded_bytes_ = 0;
  unsigned version_ = 11;
  bool continued_ = false;
  bool keep_alive_ = false;
  bool is_head_ = false;
};

}  // namespace manta::server
