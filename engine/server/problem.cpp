#include "problem.hpp"

#include "program/json_writer.hpp"
#include "text.hpp"

namespace manta::server {
namespace {

// Of what a client sent, in messages.
constexpr std::size_t kShownPath = 200;
constexpr std::size_t kShownMethod = 40;

}  // namespace

std::string_view phrase(int status) noexcept {
  switch (status) {
    case 400:
      return "Bad Request";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 413:
      return "Request Entity Too Large";
    case 415:
      return "Unsupported Media Type";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    default:
      return "Error";
  }
}

void write_problem(Exchange& exchange, int status, std::string_view detail) {
  Response& response = exchange.response;
  response.status = status;
  response.content_type = "application/problem+json";
  response.json_bytes.reset();
  response.content_encoding = {};
  response.body.clear();
  program::StringOutput output(response.body);
  program::JsonWriter json(output);
  json.StartObject();
  json.member("type", "about:blank");
  json.member("title", phrase(status));
  json.member("status", status);
  json.member("detail", detail);
  json.member("error", detail);
  json.member("request_id", exchange.request.id);
  json.EndObject();
}

void write_problem(Exchange& exchange, const HttpError& error) {
  exchange.response.allow = error.allow();
  write_problem(exchange, error.status(), error.detail());
}

void refuse_route(std::string_view path) {
  throw HttpError(404, "there is no route " + printable(path.substr(0, kShownPath)));
}

void check_method(const Request& request, std::string_view method) {
  if (request.method == method) return;
  const std::string allow = method == "GET" ? "GET, HEAD" : std::string(method);
  throw HttpError(405,
                  printable(std::string_view(request.path).substr(0, kShownPath)) + " takes " + allow + ", not " +
                      printable(request.method.substr(0, kShownMethod)),
                  allow);
}

}  // namespace manta::server
