#include "connection.hpp"

#include <simdjson.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/rfc7230.hpp>
#include <boost/beast/http/write.hpp>

#include "problem.hpp"
#include "query.hpp"
#include "text.hpp"

namespace manta::server {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;

constexpr std::size_t kReadBytes = 16 * std::size_t{1024};
constexpr std::size_t kReadBytesOfLargeBody = 256 * std::size_t{1024};
constexpr std::uint32_t kHeaderLimit = 16 * 1024;
constexpr std::size_t kShownDigits = 18;
constexpr std::size_t kShownEncoding = 100;
constexpr std::size_t kLongestId = 128;
// An idle connection keeps no more than this for its next request, in its input buffer and in all others together.
constexpr std::size_t kKeptBytes = 256 * std::size_t{1024};
// After a refused request: how much and how long what the client still sends is read, so that it sees the answer.
constexpr std::size_t kMostDiscarded = 64 * kMiB;
constexpr double kLingerSeconds = 2;
constexpr double kWriteSeconds = 30;
// A body that comes more slowly than this, after its first `read_seconds`, is not waited for.
constexpr double kLeastBytesPerSecond = 8 * 1024;
// Of the binary tensor extension: how much of a body is JSON.
const char* const kJsonBytes = "Inference-Header-Content-Length";

std::string_view view(boost::beast::string_view text) {
  return {text.data(), text.size()};
}

bool is_sane_id(std::string_view id) {
  constexpr std::string_view kOthers = "._:/+=-";
  return !id.empty() && id.size() <= kLongestId && std::all_of(id.begin(), id.end(), [&](char letter) {
    return (letter >= 'A' && letter <= 'Z') || (letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9') ||
           kOthers.find(letter) != std::string_view::npos;
  });
}

Clock::duration duration(double seconds) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

template <typename T>
std::size_t bytes_of(const T& memory) {
  return memory.capacity() * sizeof(memory[0]);
}

}  // namespace

Connection::Connection(Shard& shard, Socket socket) : shard_(shard), socket_(std::move(socket)) {}

Connection::~Connection() = default;

void Connection::start() {
  error_code ignored;  // without it answers are only later
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  begin_request();
  read();
}

void Connection::begin_request() {
  kept_body_.clear();
  parser_.emplace(std::piecewise_construct, std::make_tuple(std::move(kept_body_)));
  parser_->eager(true);
  parser_->header_limit(kHeaderLimit);
  parser_->body_limit(shard_.options().max_body_bytes);
  continued_ = false;
  state_ = State::reading;
  part_ = Part::nothing;
  since_ = Clock::now();
  extend(shard_.options().idle_seconds);
}

void Connection::read() {
  const std::size_t wanted = parser_->is_header_done() ? kReadBytesOfLargeBody : kReadBytes;
  socket_.async_read_some(buffer_.prepare(wanted), [self = shared_from_this()](const error_code& error, std::size_t n) {
    if (self->state_ != State::reading) return;
    if (error == asio::error::operation_aborted) {
      self->read_the_last();
      return;
    }
    if (error) {  // the client has left; what it began it does not want answered
      self->close();
      return;
    }
    self->buffer_.commit(n);
    self->parse();
  });
}

void Connection::parse() {
  error_code error;
  while (buffer_.size() > 0 && !parser_->is_done()) {
    const std::size_t used = parser_->put(buffer_.data(), error);
    buffer_.consume(used);
    if (error == http::error::need_more) {
      error = {};
      break;
    }
    if (error) {
      refuse(error);
      return;
    }
    if (used == 0) break;
  }
  if (parser_->is_header_done() && !check_transfer_encoding()) return;
  if (!charge_body()) return;
  if (parser_->is_done()) {
    fill_request();
    state_ = State::handling;
    shard_.api().handle(*this);
    return;
  }
  // The parser takes a chunk's extensions, and a trailer, as a whole only, and however long.
  if (parser_->is_header_done() && buffer_.size() > kHeaderLimit) {
    refuse(431, "a chunk's head or the trailer is larger than the limit of " + std::to_string(kHeaderLimit) + " bytes");
    return;
  }
  limit_reading();
  if (parser_->is_header_done() && !continued_) {
    send_continue();
  } else {
    read();
  }
}

// A byte now and then does not renew the time: the header has `read_seconds` in all, and a body has to keep its pace.
void Connection::limit_reading() {
  const double read_seconds = shard_.options().read_seconds;
  const Part part = parser_->is_header_done() ? Part::body : Part::header;
  if (part != part_) {
    part_ = part;
    since_ = Clock::now();
  }
  const auto bytes = static_cast<double>(parser_->get().body().size());
  extend(read_seconds);
  deadline_ = std::min(deadline_, since_ + duration(read_seconds + bytes / kLeastBytesPerSecond));
}

// The parser passes over a transfer encoding that it does not know, and takes for the next request what a proxy took
// for the body. False when the request was refused.
bool Connection::check_transfer_encoding() {
  const auto& message = parser_->get();
  const auto encodings = message.count(http::field::transfer_encoding);
  if (encodings == 0) return true;
  if (message.version() < 11) {
    refuse(400, "HTTP/1.0 has no Transfer-Encoding");
    return false;
  }
  const std::string_view encoding = view(message[http::field::transfer_encoding]);
  if (encodings == 1 && lower(encoding) == "chunked") return true;
  refuse(501, "transfer encoding " + quoted(encoding, kShownEncoding) + " is not supported: send chunked, or a length");
  return false;
}

bool Connection::charge(std::size_t bytes) {
  charged_bytes_ += bytes;
  const auto more = static_cast<std::int64_t>(bytes);
  const auto before = shard_.metrics().body_bytes.fetch_add(more, std::memory_order_relaxed);
  return static_cast<std::size_t>(before) + bytes <= shard_.options().max_body_bytes_in_all;
}

// Counts what of the body has arrived. False when it was too much of all bodies together, and refused.
bool Connection::charge_body() {
  if (charge(parser_->get().body().size() - charged_bytes_)) return true;
  refuse(503, kTooMuchAtOnce);
  return false;
}

void Connection::release_body() {
  shard_.metrics().body_bytes.fetch_sub(static_cast<std::int64_t>(charged_bytes_), std::memory_order_relaxed);
  charged_bytes_ = 0;
}

// Once for each request whose header is here and whose body is not.
void Connection::send_continue() {
  continued_ = true;
  if (!http::token_list(parser_->get()[http::field::expect]).exists("100-continue")) {
    read();
    return;
  }
  static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
  asio::async_write(socket_, asio::buffer(kContinue.data(), kContinue.size()),
                    [self = shared_from_this()](const error_code& error, std::size_t) {
                      if (self->state_ != State::reading) return;
                      if (error) {
                        self->close();
                      } else {
                        self->read();
                      }
                    });
}

void Connection::fill_request() {
  auto& message = parser_->get();
  Target target = split_target(view(message.target()));
  is_head_ = message.method() == http::verb::head;
  keep_alive_ = message.keep_alive();
  version_ = message.version();
  request.method = is_head_ ? "GET" : view(message.method_string());
  request.path = std::move(target.path);
  request.query = target.query;
  request.content_type = view(message[http::field::content_type]);
  request.content_encoding = view(message[http::field::content_encoding]);
  request.accept_encoding = view(message[http::field::accept_encoding]);
  const auto header = [&message](const char* name) -> std::optional<std::string_view> {
    const auto found = message.find(name);
    return found == message.end() ? std::nullopt : std::optional(view(found->value()));
  };
  request.json_bytes = header(kJsonBytes);
  request.user_id = header("X-User-Id");
  request.model_version = header("X-Model-Version");
  std::string& body = message.body();
  if (body.capacity() < body.size() + simdjson::SIMDJSON_PADDING)
    body.reserve(body.size() + simdjson::SIMDJSON_PADDING);
  request.body = body;
  const std::string_view id = view(message["X-Request-ID"]);
  request.id = is_sane_id(id) ? std::string(id) : shard_.new_request_id();
}

void Connection::refuse(const error_code& error) {
  if (error == http::error::body_limit) {
    const std::string limit = grouped(shard_.options().max_body_bytes);
    const std::string length(view(parser_->get()[http::field::content_length]).substr(0, kShownDigits));
    refuse(413, length.empty() ? "the body is larger than the limit of " + limit + " bytes"
                               : "the body has " + length + " bytes, the limit is " + limit);
  } else if (error == http::error::header_limit) {
    refuse(431, "the header is larger than the limit of " + std::to_string(kHeaderLimit) + " bytes");
  } else {
    refuse(400, "this is not HTTP: " + error.message());
  }
}

// Answers a request that cannot be read to its end, and closes.
void Connection::refuse(int status, std::string_view detail) {
  started = Clock::now();
  keep_alive_ = false;
  is_head_ = false;
  version_ = 11;
  request.body = {};
  const std::string_view id = view(parser_->get()["X-Request-ID"]);
  request.id = is_sane_id(id) ? std::string(id) : shard_.new_request_id();
  route = Route::other;
  response.allow.clear();
  state_ = State::handling;
  write_problem(*this, status, detail);
  send();
}

void Connection::on_batch(BatchOutcome outcome) {
  shard_.api().on_batch(*this, outcome);
}

void Connection::send() {
  shard_.metrics().request(route, response.status, Clock::now() - started);
  message_.clear();
  message_.version(version_);
  message_.result(static_cast<unsigned>(response.status));
  message_.set(http::field::date, shard_.date());
  message_.set(http::field::content_type, boost::beast::string_view(response.content_type));
  message_.set("X-Request-ID", request.id);
  if (response.status == 503) message_.set(http::field::retry_after, std::to_string(kRetryAfterSeconds));
  if (!response.allow.empty()) message_.set(http::field::allow, response.allow);
  if (response.json_bytes) message_.set(kJsonBytes, std::to_string(*response.json_bytes));
  if (!response.content_encoding.empty()) {
    message_.set(http::field::content_encoding, boost::beast::string_view(response.content_encoding));
  }
  keep_alive_ = keep_alive_ && !shard_.draining();
  message_.keep_alive(keep_alive_);
  message_.content_length(response.body.size());
  message_.body().swap(response.body);
  if (is_head_) message_.body().clear();
  write();
}

void Connection::write() {
  state_ = State::writing;
  extend(kWriteSeconds);
  http::async_write(socket_, message_, [self = shared_from_this()](const error_code& error, std::size_t) {
    if (self->state_ == State::writing) self->on_written(error);
  });
}

void Connection::on_written(const error_code& error) {
  release_body();
  response.body.swap(message_.body());
  response.body.clear();
  if (error) {
    close();
    return;
  }
  if (!parser_->is_done()) {
    linger();
    return;
  }
  if (!keep_alive_) {
    error_code ignored;
    if (buffer_.size() > 0 || socket_.available(ignored) > 0) {
      linger();
    } else {
      socket_.shutdown(Socket::shutdown_send, ignored);
      close();
    }
    return;
  }
  kept_body_ = std::move(parser_->get().body());
  if (kept_bytes() > kKeptBytes) release_memory();
  if (buffer_.size() == 0 && buffer_.capacity() > kKeptBytes) buffer_.shrink_to_fit();
  begin_request();
  if (buffer_.size() > 0) {
    parse();  // the client did not wait for the answer
  } else {
    read();
  }
}

std::size_t Connection::kept_bytes() const {
  std::size_t bytes = bytes_of(kept_body_) + bytes_of(response.body) + bytes_of(inflated_body) + bytes_of(pixels) +
                      bytes_of(rows_of_probabilities) + bytes_of(rows);
  for (const std::string& decoded : decoded_bodies) bytes += sizeof decoded + bytes_of(decoded);
  return bytes;
}

void Connection::release_memory() {
  std::string().swap(kept_body_);
  std::string().swap(response.body);
  std::string().swap(inflated_body);
  std::vector<std::uint8_t>().swap(pixels);
  std::vector<float>().swap(rows_of_probabilities);
  std::vector<Row>().swap(rows);
  std::vector<std::string>().swap(decoded_bodies);
}

// A socket closed while the client still sends is reset, and the client may never see the answer.
void Connection::linger() {
  error_code ignored;
  socket_.shutdown(Socket::shutdown_send, ignored);
  state_ = State::lingering;
  extend(kLingerSeconds);
  discard();
}

void Connection::discard() {
  buffer_.clear();
  socket_.async_read_some(buffer_.prepare(kReadBytes),
                          [self = shared_from_this()](const error_code& error, std::size_t n) {
                            if (self->state_ != State::lingering) return;
                            self->discarded_bytes_ += n;
                            if (error || self->discarded_bytes_ > kMostDiscarded) {
                              self->close();
                            } else {
                              self->discard();
                            }
                          });
}

void Connection::check_deadline(Clock::time_point now) {
  if (now < deadline_ || state_ == State::handling || state_ == State::closed) return;
  if (state_ == State::reading && has_begun()) {
    error_code ignored;
    socket_.cancel(ignored);
    refuse(408, "the request did not arrive in time");
  } else {
    close();
  }
}

void Connection::drain() {
  if (state_ != State::reading || has_begun()) return;  // it closes itself after its answer
  // What was read already is handed over all the same; only then is it known that nothing is on its way.
  error_code ignored;
  socket_.cancel(ignored);
}

void Connection::read_the_last() {
  error_code error;
  if (socket_.available(error) > 0 && !error) {
    read();
  } else {
    close();
  }
}

void Connection::close() {
  if (state_ == State::closed) return;
  const auto self = shared_from_this();
  state_ = State::closed;
  release_body();
  error_code ignored;
  socket_.close(ignored);
  shard_.remove(*this);
}

std::optional<Clock::time_point> Connection::idle_since() const {
  return state_ == State::reading && !has_begun() ? std::optional(since_) : std::nullopt;
}

void Connection::extend(double seconds) {
  deadline_ = Clock::now() + duration(seconds);
}

}  // namespace manta::server
