#include "request_body.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "base64.hpp"
#include "manta/engine.hpp"
#include "multipart.hpp"
#include "problem.hpp"
#include "query.hpp"
#include "text.hpp"

namespace manta::server {
namespace {

namespace dom = simdjson::dom;

constexpr std::ptrdiff_t kLongestName = 256;
// A parser takes memory for each value, also while nobody wants them.
constexpr std::size_t kMostValues = 1'000'000;
constexpr std::size_t kLongestMediaType = 200;
const char* const kNoBody = "the body is empty";
const char* const kNoImage = "the field `image` is missing";
const char* const kBadTopK = "`top_k` must be a whole number of 1 or more";

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

// About how many values a JSON text has, counted without parsing it; none of these letters is one of base64's.
std::size_t values_in(std::string_view json) {
  return static_cast<std::size_t>(std::count_if(
      json.begin(), json.end(), [](char letter) { return letter == ',' || letter == '[' || letter == '{'; }));
}

[[noreturn]] void refuse_text(std::string_view name) {
  throw HttpError(400, "`" + std::string(name) + "` must be text of 1 to 256 characters");
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

bool is_name(std::string_view text) {
  const auto letters = std::count_if(text.begin(), text.end(), [](char byte) { return (byte & 0xC0) != 0x80; });
  return letters >= 1 && letters <= kLongestName;
}

void check_option(std::string_view name, const std::optional<std::string>& text) {
  if (text && !is_name(*text)) refuse_text(name);
}

// Of a query or a form, where everything is text.
struct TextOptions {
  std::optional<std::string> top_k;
  std::optional<std::string> user_id;
  std::optional<std::string> quality;
};

void use(const TextOptions& options, Exchange& exchange) {
  check_option("user_id", options.user_id);
  check_option("quality", options.quality);
  exchange.top_k = top_k_of(options.top_k);
}

TextOptions of_query(std::string_view query) {
  return {query_value(query, "top_k"), query_value(query, "user_id"), query_value(query, "quality")};
}

TextOptions of_form(const Form& form, std::string_view query) {
  TextOptions options = of_query(query);
  const auto take = [&form](const char* name, std::optional<std::string>& value) {
    const auto found = form.fields.find(name);
    if (found != form.fields.end()) value = printable(found->second);
  };
  take("top_k", options.top_k);
  take("user_id", options.user_id);
  take("quality", options.quality);
  return options;
}

void check_not_encoded(const Request& request) {
  if (request.content_encoding.empty() || lower(request.content_encoding) == "identity") return;
  throw HttpError(
      415, "content encoding " + printable(request.content_encoding) + " is not supported: send the body as it is");
}

// The content type without its parameters, in lower case.
std::string media_type(const Request& request) {
  check_not_encoded(request);
  std::string kind = lower(trimmed(request.content_type.substr(0, request.content_type.find(';'))));
  constexpr std::string_view kJsonSuffix = "+json";
  const bool is_json = kind.size() >= kJsonSuffix.size() &&
                       kind.compare(kind.size() - kJsonSuffix.size(), kJsonSuffix.size(), kJsonSuffix) == 0;
  return is_json ? "application/json" : kind;
}

[[noreturn]] void refuse_media_type(const std::string& kind, const std::string& supported) {
  throw HttpError(
      415, "content type " + (kind.empty() ? "(none)" : printable(kind)) + " is not supported: send " + supported);
}

void read_json_image(Exchange& exchange, dom::parser& parser) {
  const dom::object object = read_object(exchange.request.body, parser);
  const auto image = field(object, "image");
  if (!image) throw HttpError(400, kNoImage);
  decode_image(*image, exchange.decoded_bodies[0]);
  exchange.rows[0].encoded = exchange.decoded_bodies[0];
  exchange.top_k = top_k_of(field(object, "top_k"));
  check_text("user_id", field(object, "user_id"));
  check_text("quality", field(object, "quality"));
}

void read_raw_image(Exchange& exchange) {
  if (exchange.request.body.empty()) throw HttpError(400, kNoBody);
  exchange.rows[0].encoded = exchange.request.body;
  use(of_query(exchange.request.query), exchange);
}

void read_form_image(Exchange& exchange) {
  const Request& request = exchange.request;
  if (request.body.empty()) throw HttpError(400, kNoBody);
  const Form form = read_form(request.content_type, request.body);
  if (form.files.size() != 1) {
    throw HttpError(400, "one file is expected, not " + std::to_string(form.files.size()));
  }
  if (form.files[0].empty()) throw HttpError(400, "the file is empty");
  exchange.rows[0].encoded = form.files[0];
  use(of_form(form, request.query), exchange);
}

void read_batch_item(dom::element item, Row& row, std::string& bytes) {
  try {
    dom::object object;
    if (item.get(object) != simdjson::SUCCESS) {
      throw HttpError(400,
                      std::string("an image must be an object like {\"image\": \"<base64>\"}, not ") + json_type(item));
    }
    const auto image = field(object, "image");
    if (!image) throw HttpError(400, kNoImage);
    decode_image(*image, bytes);
    row.encoded = bytes;
  } catch (const HttpError& error) {
    row.error = error.detail();
    row.error_status = error.status();
  }
}

}  // namespace

void read_predict(Exchange& exchange, dom::parser& parser) {
  const std::string kind = media_type(exchange.request);
  exchange.set_rows(1);
  if (kind == "application/json") {
    read_json_image(exchange, parser);
  } else if (kind == "multipart/form-data") {
    read_form_image(exchange);
  } else if (kind.rfind("image/", 0) == 0 || kind == "application/octet-stream") {
    read_raw_image(exchange);
  } else {
    refuse_media_type(kind, "application/json, image/*, application/octet-stream or multipart/form-data");
  }
}

void read_batch(Exchange& exchange, dom::parser& parser, std::size_t max_images) {
  const std::string kind = media_type(exchange.request);
  if (kind != "application/json") refuse_media_type(kind, "application/json");
  const dom::object object = read_object(exchange.request.body, parser);
  const auto images = field(object, "images");
  dom::array items;
  if (!images || images->get(items) != simdjson::SUCCESS) {
    throw HttpError(400, R"(the field `images` must be a list of objects like {"image": "<base64>"})");
  }
  const std::size_t count = items.size();
  if (count < 1 || count > max_images) {
    throw HttpError(400,
                    "`images` must hold 1 to " + std::to_string(max_images) + " images, not " + std::to_string(count));
  }
  exchange.top_k = top_k_of(field(object, "top_k"));
  check_text("user_id", field(object, "user_id"));
  check_text("quality", field(object, "quality"));
  exchange.set_rows(count);
  std::size_t index = 0;
  for (const dom::element item : items) {
    read_batch_item(item, exchange.rows[index], exchange.decoded_bodies[index]);
    ++index;
  }
}

void check_caller(const Request& request, std::string_view model_version) {
  const auto check_header = [](const char* name, std::optional<std::string_view> value) {
    if (value && !is_name(*value)) {
      throw HttpError(400, std::string("the header ") + name + " must hold 1 to 256 characters");
    }
  };
  check_header("x-user-id", request.user_id);
  check_header("x-model-version", request.model_version);
  if (request.model_version && *request.model_version != model_version) {
    throw HttpError(404, "version " + printable(request.model_version->substr(0, 64)) +
                             " is not deployed; deployed: " + std::string(model_version));
  }
}

dom::object read_object(std::string_view json, dom::parser& parser) {
  if (json.empty()) throw HttpError(400, kNoBody);
  if (json.size() > kMostValues && values_in(json) > kMostValues) {
    throw HttpError(413, "the JSON holds more than 1,000,000 values; send tensors as binary data");
  }
  dom::element document;
  const auto error = parser.parse(json.data(), json.size(), false).get(document);
  if (error != simdjson::SUCCESS) {
    throw HttpError(400, std::string("the body is not JSON: ") + simdjson::error_message(error));
  }
  dom::object object;
  if (document.get(object) != simdjson::SUCCESS) {
    throw HttpError(400, std::string("the body must be a JSON object, not ") + json_type(document));
  }
  return object;
}

std::optional<dom::element> field(dom::object object, std::string_view name) {
  std::optional<dom::element> found;
  for (const auto& [key, value] : object) {
    if (key == name) found = value;
  }
  return found;
}

void check_text(std::string_view name, std::optional<dom::element> value) {
  if (!value || value->is_null()) return;
  std::string_view text;
  if (value->get(text) != simdjson::SUCCESS || !is_name(text)) refuse_text(name);
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
