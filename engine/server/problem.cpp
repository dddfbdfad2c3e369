#include "problem.hpp"

#include <simdjson.h>

#include "json_writer.hpp"

namespace manta::server {

std::string_view phrase(int status) noexcept {
  switch (status) {
    case 400:
      return "Bad Request";
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
  response.body.clear();
  StringOutput output(response.body);
  JsonWriter json(output);
  json.StartObject();
  if (exchange.route == Route::v2 || exchange.route == Route::v2_infer) {
    response.content_type = "application/json";
    json.Key("error");
    json.text(detail);
    json.EndObject();
    return;
  }
  response.content_type = "application/problem+json";
  json.Key("type");
  json.text("about:blank");
  json.Key("title");
  json.text(phrase(status));
  json.Key("status");
  json.Int(status);
  json.Key("detail");
  json.text(detail);
  json.Key("error");
  json.text(detail);
  json.Key("request_id");
  json.text(exchange.request.id);
  json.EndObject();
}

void write_problem(Exchange& exchange, const HttpError& error) {
  exchange.response.allow = error.allow();
  write_problem(exchange, error.status(), error.detail());
}

std::string printable(std::string_view text) {
  if (simdjson::validate_utf8(text.data(), text.size())) return std::string(text);
  constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
  std::string copy;
  for (const char letter : text) {
    if (static_cast<unsigned char>(letter) > 127) {
      copy += kReplacement;
    } else {
      copy += letter;
    }
  }
  return copy;
}

}  // namespace manta::server
