// A request's body -> encoded images and options. Bad input of any kind throws HttpError, never more.
//
//   JSON          {"image": base64 or data: URL, "top_k": 5, "user_id": "...", "quality": "..."}
//   raw           the encoded image itself, image/* or application/octet-stream; options in the query
//   multipart     one file; options as fields or in the query
//   JSON, batch   {"images": [{"image": ...}, ...], "top_k": 5}
//
// `user_id` and `quality` choose nothing where there is one model, but must be what the service takes.
#pragma once

#include <simdjson.h>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "exchange.hpp"

namespace manta::server {

// Fills `rows` and `top_k` of the exchange.
void read_predict(Exchange& exchange, simdjson::dom::parser& parser);

// The same for POST /predict/batch: an image that cannot be read keeps its place, with its error.
void read_batch(Exchange& exchange, simdjson::dom::parser& parser, std::size_t max_images);

// X-User-Id must be what can be one, and X-Model-Version the version that is served.
void check_caller(const Request& request, std::string_view model_version);

// `json` needs simdjson's padding behind it.
[[nodiscard]] simdjson::dom::object read_object(std::string_view json, simdjson::dom::parser& parser);

// The value of a name, of several the last one.
[[nodiscard]] std::optional<simdjson::dom::element> field(simdjson::dom::object object, std::string_view name);

// Nothing, or text of 1 to 256 characters.
void check_text(std::string_view name, std::optional<simdjson::dom::element> value);

// Base64 text, as it is or in a data: URL -> `bytes`, whose memory is used again.
void decode_image(simdjson::dom::element value, std::string& bytes);

// What a value is, for messages: "a list".
[[nodiscard]] const char* json_type(simdjson::dom::element value);

}  // namespace manta::server
