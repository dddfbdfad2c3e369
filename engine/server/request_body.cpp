#include "request_body.hpp"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <limits>
#include <optional>

#include "base64.hpp"
#include "manta/engine.hpp"
#include "problem.hpp"
#include "query.hpp"

namespace manta::server {
namespace {

namespace dom = simdjson::dom;

constexpr std::size_t kLongestUserId = 256;
constexpr std::size_t kLongestMediaType = 200;
const char* const kBadTopK = "`top_k` must be a whole number of 1 or more";

std::string lower(std::string_view text) {
  std::string copy(text);
  std::transform(copy.begin(), copy.end(), copy.begin(),
                 [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  return copy;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

bool is_space(char letter) {
  return letter == ' ' || (letter >= '\t' && letter <= '\r') || (letter >= '\x1c' && letter <= '\x1f');
}

// The base64 of a data: URL, or `text` itself.
std::string_view without_data_url(std::string_view text) {
  if (lower(text.substr(0, 5)) != "data:") return text;
  constexpr std::string_view kEncoding = ";base64";
  const std::string_view head = text.substr(0, std::min(text.find(','), std::size_t{5} + kLongestMediaType + 8));
  if (head.size() == text.size() || text[head.size()] != ',' || head.size() < 5 + kEncoding.size() ||
      lower(head.substr(head.size() - kEncoding.size())) != kEncoding) {
    throw HttpError(400, "`image` is a data: URL without base64");
  }
  return text.substr(head.size() + 1);
}

void decode_image(dom::element value, std::string& bytes) {
  std::string_view text;
  if (value.get(text) != simdjson::SUCCESS) {
    throw HttpError(400, std::string("`image` must be base64 text, not ") + json_type(value));
  }
  std::string compact;
  if (!decode_base64(without_data_url(text), bytes)) {
    // What `base64 FILE` prints is wrapped at 76 columns.
    std::copy_if(text.begin(), text.end(), std::back_inserter(compact), [](char letter) { return !is_space(letter); });
    if (compact.size() == text.size() || !decode_base64(without_data_url(compact), bytes)) {
      throw HttpError(400, "`image` is not base64");
    }
  }
  if (bytes.empty()) throw HttpError(400, "`image` is empty");
}

int top_k_of(std::optional<dom::element> value) {
  if (!value) return kDefaultTopK;
  constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<int>::max());
  std::uint64_t whole = 0;
  double real = 0;
  if (value->is_uint64() && value->get(whole) == simdjson::SUCCESS && whole >= 1) {
    return static_cast<int>(std::min(whole, kMost));
  }
  if (value->is_double() && value->get(real) == simdjson::SUCCESS && real >= 1 && std::floor(real) == real) {
    return static_cast<int>(std::min(real, static_cast<double>(kMost)));
  }
  throw HttpError(400, kBadTopK);
}

int top_k_of(const std::optional<std::string>& text) {
  if (!text) return kDefaultTopK;
  constexpr std::size_t kMostDigits = 18;
  std::string_view digits = *text;
  const bool negative = !digits.empty() && digits.front() == '-';
  if (!digits.empty() && (digits.front() == '+' || negative)) digits.remove_prefix(1);
  std::int64_t value = 0;
  for (const char digit : digits) {
    if (digit < '0' || digit > '9' || digits.size() > kMostDigits) throw HttpError(400, kBadTopK);
    value = value * 10 + (digit - '0');
  }
  if (digits.empty() || negative || value < 1) throw HttpError(400, kBadTopK);
  return static_cast<int>(std::min<std::int64_t>(value, std::numeric_limits<int>::max()));
}

// Nothing here depends on who asks; only that it is what the service takes.
void check_user_id(std::optional<dom::element> value) {
  if (!value || value->is_null()) return;
  std::string_view text;
  if (value->get(text) == simdjson::SUCCESS) {
    const auto letters = std::count_if(text.begin(), text.end(), [](char byte) { return (byte & 0xC0) != 0x80; });
    if (letters >= 1 && letters <= static_cast<std::ptrdiff_t>(kLongestUserId)) return;
  }
  throw HttpError(400, "`user_id` must be text of 1 to 256 characters");
}

// Of a name that stands more than once, the last one counts.
struct Fields {
  std::optional<dom::element> image;
  std::optional<dom::element> images;
  std::optional<dom::element> top_k;
  std::optional<dom::element> user_id;
};

Fields fields_of(dom::object object) {
  Fields fields;
  for (const auto& [key, value] : object) {
    if (key == "image") {
      fields.image = value;
    } else if (key == "images") {
      fields.images = value;
    } else if (key == "top_k") {
      fields.top_k = value;
    } else if (key == "user_id") {
      fields.user_id = value;
    }
  }
  return fields;
}

void set_rows(Exchange& exchange, std::size_t count) {
  exchange.rows.assign(count, Row());
  if (exchange.decoded_bodies.size() < count) exchange.decoded_bodies.resize(count);
}

void read_batch_item(dom::element item, Row& row, std::string& bytes) {
  try {
    dom::object object;
    if (item.get(object) != simdjson::SUCCESS) {
      throw HttpError(400,
                      std::string("an image must be an object like {\"image\": \"<base64>\"}, not ") + json_type(item));
    }
    const auto image = fields_of(object).image;
    if (!image) throw HttpError(400, "the field `image` is missing");
    decode_image(*image, bytes);
    row.encoded = bytes;
  } catch (const HttpError& error) {
    row.error = error.detail();
    row.error_status = error.status();
  }
}

}  // namespace

void read_predict(Exchange& exchange, dom::parser& parser) {
  const Request& request = exchange.request;
  const std::string kind = media_type(request);
  set_rows(exchange, 1);
  if (kind == "application/json") {
    const Fields fields = fields_of(read_object(request, parser));
    if (!fields.image) throw HttpError(400, "the field `image` is missing");
    decode_image(*fields.image, exchange.decoded_bodies[0]);
    exchange.rows[0].encoded = exchange.decoded_bodies[0];
    exchange.top_k = top_k_of(fields.top_k);
    check_user_id(fields.user_id);
  } else if (kind.rfind("image/", 0) == 0 || kind == "application/octet-stream") {
    if (request.body.empty()) throw HttpError(400, "the body is empty");
    exchange.rows[0].encoded = request.body;
    exchange.top_k = top_k_of(query_value(request.query, "top_k"));
  } else {
    throw HttpError(415, "content type " + (kind.empty() ? "(none)" : printable(kind)) +
                             " is not supported: send application/json, image/* or application/octet-stream");
  }
}

void read_batch(Exchange& exchange, dom::parser& parser, std::size_t max_images) {
  const std::string kind = media_type(exchange.request);
  if (kind != "application/json") {
    throw HttpError(415, "content type " + (kind.empty() ? "(none)" : printable(kind)) +
                             " is not supported: send application/json");
  }
  const Fields fields = fields_of(read_object(exchange.request, parser));
  dom::array items;
  if (!fields.images || fields.images->get(items) != simdjson::SUCCESS) {
    throw HttpError(400, R"(the field `images` must be a list of objects like {"image": "<base64>"})");
  }
  std::size_t count = 0;  // of very long lists simdjson's own size is cut off
  for (auto item = items.begin(); item != items.end(); ++item) ++count;
  if (count < 1 || count > max_images) {
    throw HttpError(400,
                    "`images` must hold 1 to " + std::to_string(max_images) + " images, not " + std::to_string(count));
  }
  exchange.top_k = top_k_of(fields.top_k);
  check_user_id(fields.user_id);
  set_rows(exchange, count);
  std::size_t index = 0;
  for (const dom::element item : items) {
    read_batch_item(item, exchange.rows[index], exchange.decoded_bodies[index]);
    ++index;
  }
}

std::string media_type(const Request& request) {
  if (!request.content_encoding.empty() && lower(request.content_encoding) != "identity") {
    throw HttpError(
        415, "content encoding " + printable(request.content_encoding) + " is not supported: send the body as it is");
  }
  std::string kind = lower(trimmed(request.content_type.substr(0, request.content_type.find(';'))));
  constexpr std::string_view kJsonSuffix = "+json";
  const bool is_json = kind.size() >= kJsonSuffix.size() &&
                       kind.compare(kind.size() - kJsonSuffix.size(), kJsonSuffix.size(), kJsonSuffix) == 0;
  return is_json ? "application/json" : kind;
}

dom::object read_object(const Request& request, dom::parser& parser) {
  if (request.body.empty()) throw HttpError(400, "the body is empty");
  dom::element document;
  // The body has simdjson's padding behind it, so it is read where it lies.
  const auto error = parser.parse(request.body.data(), request.body.size(), false).get(document);
  if (error != simdjson::SUCCESS) {
    throw HttpError(400, std::string("the body is not JSON: ") + simdjson::error_message(error));
  }
  dom::object object;
  if (document.get(object) != simdjson::SUCCESS) {
    throw HttpError(400, std::string("the body must be a JSON object, not ") + json_type(document));
  }
  return object;
}

const char* json_type(dom::element value) {
  switch (value.type()) {
    case dom::element_type::OBJECT:
      return "an object";
    case dom::element_type::ARRAY:
      return "a list";
    case dom::element_type::STRING:
      return "text";
    case dom::element_type::BOOL:
      return "a boolean";
    case dom::element_type::NULL_VALUE:
      return "null";
    default:
      return "a number";
  }
}

}  // namespace manta::server
