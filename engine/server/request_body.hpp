// A request's body -> encoded images and options. Bad input of any kind throws HttpError, never more.
//
//   JSON          {"image": base64 or data: URL, "top_k": 5, "user_id": "..."}
//   raw           the encoded image itself, image/* or application/octet-stream; ?top_k=
//   JSON, batch   {"images": [{"image": ...}, ...], "top_k": 5}
#pragma once

#include <simdjson.h>

#include <cstddef>
#include <string>

#include "exchange.hpp"

namespace manta::server {

// Fills `rows` and `top_k` of the exchange.
void read_predict(Exchange& exchange, simdjson::dom::parser& parser);

// The same for POST /predict/batch: an image that cannot be read keeps its place, with its error.
void read_batch(Exchange& exchange, simdjson::dom::parser& parser, std::size_t max_images);

// The content type without its parameters, in lower case. Throws HttpError for a compressed body.
[[nodiscard]] std::string media_type(const Request& request);

// Throws HttpError.
[[nodiscard]] simdjson::dom::object read_object(const Request& request, simdjson::dom::parser& parser);

// What a value is, for messages.
[[nodiscard]] const char* json_type(simdjson::dom::element value);

}  // namespace manta::server
