// manta-load: sends one request over and over on several connections, each waiting for its answer, and measures.
//
//   manta-load PORT PATH CONTENT-TYPE BODY-FILE CONNECTIONS SECONDS
//
// Prints one JSON object: requests, errors, seconds, latency. An error is a connection that broke or an answer that is
// not 200. Its own cost is about that of a read and a write, so that one core of it keeps several of a server busy.
#include "program/main.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <chrono>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "manta/errors.hpp"
#include "manta/latency.hpp"
#include "program/arguments.hpp"
#include "program/json_writer.hpp"

namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;

struct Totals {
  std::uint64_t requests = 0;
  std::uint64_t errors = 0;
  std::string first_error;
  manta::LatencyHistogram latency;

  void fail(const std::string& what) {
    ++errors;
    if (first_error.empty()) first_error = what;
  }
};

class Client {
 public:
  Client(asio::io_context& loop, asio::ip::tcp::endpoint server, const std::string& request, Clock::time_point end,
         Totals& totals)
      : server_(std::move(server)), request_(request), end_(end), totals_(totals), socket_(loop) {}

  void start() {
    socket_.async_connect(server_, [this](const error_code& error) {
      if (error) {
        totals_.fail("connect: " + error.message());
        return;
      }
      error_code ignored;
      socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
      send();
    });
  }

 private:
  void send() {
    if (Clock::now() >= end_) return;
    sent_ = Clock::now();
    parser_.emplace();
    parser_->eager(true);
    asio::async_write(socket_, asio::buffer(request_), [this](const error_code& error, std::size_t) {
      if (error) {
        broken("write: " + error.message());
      } else {
        read();
      }
    });
  }

  void read() {
    constexpr std::size_t kBytes = 16 * std::size_t{1024};
    socket_.async_read_some(buffer_.prepare(kBytes), [this](const error_code& error, std::size_t bytes) {
      if (error) {
        broken("read: " + error.message());
        return;
      }
      buffer_.commit(bytes);
      error_code problem;
      buffer_.consume(parser_->put(buffer_.data(), problem));
      if (problem && problem != http::error::need_more) {
        broken("parse: " + problem.message());
      } else if (parser_->is_done()) {
        answered();
      } else {
        read();
      }
    });
  }

  void answered() {
    totals_.latency.add(Clock::now() - sent_);
    ++totals_.requests;
    if (parser_->get().result() != http::status::ok) totals_.fail(parser_->get().body());
    if (parser_->get().keep_alive()) {
      send();
    } else {
      reconnect();
    }
  }

  void broken(const std::string& what) {
    totals_.fail(what);
    reconnect();
  }

  void reconnect() {
    error_code ignored;
    socket_.close(ignored);
    buffer_.clear();
    if (Clock::now() < end_) start();
  }

  asio::ip::tcp::endpoint server_;
  const std::string& request_;
  Clock::time_point end_;
  Totals& totals_;
  asio::ip::tcp::socket socket_;
  boost::beast::flat_buffer buffer_;
  std::optional<http::response_parser<http::string_body>> parser_;
  Clock::time_point sent_;
};

void print(const Totals& totals, double seconds) {
  std::cout << manta::program::pretty_object([&](auto& json) {
    json.member("requests", totals.requests);
    json.member("errors", totals.errors);
    json.member("first_error", totals.first_error);
    json.member("seconds", seconds);
    manta::program::put_latency(json, totals.latency.summary());
  }) << '\n';
}

int run(const std::vector<std::string>& arguments) {
  if (arguments.size() != 6) {
    throw manta::BadInput("usage: manta-load PORT PATH CONTENT-TYPE BODY-FILE CONNECTIONS SECONDS");
  }
  std::ifstream file(arguments[3], std::ios::binary);
  if (!file) throw manta::NotFound("cannot read " + arguments[3]);
  const std::string body((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const std::string request = "POST " + arguments[1] + " HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: " + arguments[2] +
                              "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  const asio::ip::tcp::endpoint server(
      asio::ip::address_v4::loopback(),
      static_cast<std::uint16_t>(manta::program::whole_number("PORT", arguments[0], 1, 65535)));
  const int connections = manta::program::small_count("CONNECTIONS", arguments[4], 65535);
  const auto duration = std::chrono::duration<double>(manta::program::seconds("SECONDS", arguments[5]));

  asio::io_context loop(1);
  Totals totals;
  const auto started = Clock::now();
  const auto end = started + std::chrono::duration_cast<Clock::duration>(duration);
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < connections; ++i) {
    clients.push_back(std::make_unique<Client>(loop, server, request, end, totals));
    clients.back()->start();
  }
  loop.run();
  print(totals, std::chrono::duration<double>(Clock::now() - started).count());
  return totals.requests > 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  return manta::program::run([&] { return run({argv + 1, argv + argc}); });
}
