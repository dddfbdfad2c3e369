// Errors as HTTP answers: one JSON body that carries the RFC 9457 members and `error`.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

#include "exchange.hpp"

namespace manta::server {

// Ends a request with a status of 4xx or 5xx. `detail` is the one line that the client sees.
class HttpError : public std::runtime_error {
 public:
  HttpError(int status, const std::string& detail, std::string allow = "")
      : std::runtime_error(detail), status_(status), detail_(detail), allow_(std::move(allow)) {}
  [[nodiscard]] int status() const noexcept { return status_; }
  // As what(), but whole when there are zero bytes in it.
  [[nodiscard]] const std::string& detail() const noexcept { return detail_; }
  // Methods that the route has, with 405.
  [[nodiscard]] const std::string& allow() const noexcept { return allow_; }

 private:
  int status_;
  std::string detail_;
  std::string allow_;
};

inline constexpr int kRetryAfterSeconds = 1;
inline constexpr const char* kTooMuchAtOnce = "too many large requests at the same time, try again later";

[[nodiscard]] std::string_view phrase(int status) noexcept;

// Writes the answer to an error.
void write_problem(Exchange& exchange, int status, std::string_view detail);
void write_problem(Exchange& exchange, const HttpError& error);

// Throws the HttpError of a path that leads nowhere.
[[noreturn]] void refuse_route(std::string_view path);

// Throws HttpError unless the request has the one method of its route.
void check_method(const Request& request, std::string_view method);

}  // namespace manta::server
