#include "v2_request.hpp"

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>
#include <string>

#include "problem.hpp"
#include "request_body.hpp"
#include "text.hpp"
#include "v2_tensors.hpp"

namespace manta::server {
namespace {

namespace dom = simdjson::dom;

using Value = std::optional<dom::element>;

constexpr std::string_view kSharedMemory = "shared_memory_region";

struct Input {
  std::string name;
  Value datatype;
  Value shape;
  Value data;
  // None when the values are in `data`.
  std::optional<std::string_view> binary;
};

// As `field`, but null is nothing as well.
Value present(dom::object object, std::string_view name) {
  const Value value = field(object, name);
  return value && !value->is_null() ? value : std::nullopt;
}

std::string type_of(Value value) {
  return value ? json_type(*value) : "null";
}

// A value of the client's in a message: text quoted and cut, anything else by its kind.
std::string shown(Value value) {
  constexpr std::size_t kShown = 100;
  std::string_view text;
  if (value && value->get(text) == simdjson::SUCCESS) return quoted(text, kShown);
  return type_of(value);
}

std::optional<std::string_view> text_of(Value value) {
  std::string_view text;
  if (!value || value->get(text) != simdjson::SUCCESS) return std::nullopt;
  return text;
}

// Of a request, an input or an output; none is as good as an empty one.
std::optional<dom::object> parameters_of(dom::object owner, const std::string& what) {
  const Value value = present(owner, "parameters");
  if (!value) return std::nullopt;
  dom::object parameters;
  if (value->get(parameters) != simdjson::SUCCESS) {
    throw HttpError(400, "`parameters` of " + what + " must be an object, not " + type_of(value));
  }
  return parameters;
}

Value parameter(const std::optional<dom::object>& parameters, std::string_view name) {
  return parameters ? field(*parameters, name) : std::nullopt;
}

bool flag(const std::optional<dom::object>& parameters, const std::string& name, bool otherwise) {
  const Value value = parameter(parameters, name);
  if (!value) return otherwise;
  bool is_set = false;
  if (value->get(is_set) != simdjson::SUCCESS) {
    throw HttpError(400, "`" + name + "` must be true or false, not " + type_of(value));
  }
  return is_set;
}

// A whole number of 0 or more; none for anything else.
std::optional<std::uint64_t> size_of(dom::element value) {
  std::uint64_t size = 0;
  if (!(value.is_int64() || value.is_uint64()) || value.get(size) != simdjson::SUCCESS) return std::nullopt;
  return size;
}

std::size_t json_size(const Request& request) {
  const std::size_t all = request.body.size();
  if (!request.json_bytes) return all;
  const std::string_view text = *request.json_bytes;
  std::size_t size = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), size);
  if (error != std::errc() || end != text.data() + text.size() || size > all) {
    throw HttpError(400, "Inference-Header-Content-Length must be the size of the JSON, at most the body's " +
                             std::to_string(all) + " bytes");
  }
  return size;
}

void check_no_shared_memory(const std::optional<dom::object>& parameters, const char* instead) {
  if (!parameter(parameters, kSharedMemory)) return;
  throw HttpError(400, std::string("shared memory is not supported: ") + instead);
}

// How many bytes of binary data the input has; none when its values are JSON.
std::optional<std::size_t> binary_size(const std::optional<dom::object>& parameters, const std::string& input) {
  const Value value = parameter(parameters, "binary_data_size");
  if (!value || value->is_null()) return std::nullopt;
  const auto size = size_of(*value);
  if (!size) throw HttpError(400, "`binary_data_size` of " + input + " must be a number of bytes");
  return static_cast<std::size_t>(*size);
}

dom::object only_input(Value inputs) {
  dom::array list;
  if (!inputs || inputs->get(list) != simdjson::SUCCESS || list.size() != 1) {
    throw HttpError(400, "`inputs` must be a list with one tensor, either `images` (UINT8) or `encoded` (BYTES)");
  }
  const dom::element first = list.at(0);
  dom::object input;
  if (first.get(input) != simdjson::SUCCESS) {
    throw HttpError(400, std::string("an input must be an object, not ") + json_type(first));
  }
  return input;
}

// `behind`: all that follows the JSON.
Input read_input(Value inputs, std::string_view behind) {
  const dom::object values = only_input(inputs);
  const auto name = text_of(field(values, "name"));
  if (!name || (*name != kImages && *name != kEncoded)) {
    throw HttpError(
        400, "there is no input " + shown(field(values, "name")) + ": give `images` (UINT8) or `encoded` (BYTES)");
  }
  const std::string what = "input `" + std::string(*name) + "`";
  const auto parameters = parameters_of(values, what);
  check_no_shared_memory(parameters, "send the tensor as binary data");
  const auto size = binary_size(parameters, what);
  const Value data = present(values, "data");
  if (size.has_value() == data.has_value()) {
    throw HttpError(400, what + " must have either `data` or the parameter `binary_data_size`");
  }
  if (size.value_or(0) != behind.size()) {
    throw HttpError(400, what + " has " + std::to_string(size.value_or(0)) +
                             " bytes of binary data by its `binary_data_size`, but " + std::to_string(behind.size()) +
                             " follow the JSON, whose size Inference-Header-Content-Length tells");
  }
  return {std::string(*name), field(values, "datatype"), field(values, "shape"), data,
          size ? std::optional(behind) : std::nullopt};
}

void check_datatype(const Input& input, std::string_view expected) {
  if (text_of(input.datatype) == expected) return;
  throw HttpError(
      400, "input `" + input.name + "` must have datatype " + std::string(expected) + ", not " + shown(input.datatype));
}

void read_pixels(const Input& input, Exchange& exchange, const ModelInfo& model, std::size_t max_images) {
  check_datatype(input, "UINT8");
  const Shape shape = read_shape(input.shape, {-1, model.height, model.width, 3}, input.name, max_images);
  exchange.count = static_cast<std::size_t>(shape[0]);
  const std::size_t bytes = exchange.count * static_cast<std::size_t>(shape[1] * shape[2] * shape[3]);
  if (input.binary && input.binary->size() != bytes) {
    throw HttpError(400, "input `images` of shape " + shape_text(shape) + " has " + std::to_string(bytes) +
                             " bytes, not " + std::to_string(input.binary->size()));
  }
  exchange.pixels.resize(bytes);
  if (input.binary) {
    std::copy(input.binary->begin(), input.binary->end(), exchange.pixels.begin());
  } else {
    uint8_from_json(input.data, shape, input.name, exchange.pixels.data());
  }
}

void read_base64(dom::element value, std::size_t index, std::string& bytes) {
  if (!value.is_string()) {
    throw HttpError(400, std::string("`data` of input `encoded` must be base64 text, not ") + json_type(value));
  }
  try {
    decode_image(value, bytes);
  } catch (const HttpError& error) {
    throw HttpError(error.status(), "`encoded`[" + std::to_string(index) + "]: " + error.detail());
  }
}

void read_files(const Input& input, Exchange& exchange, std::size_t max_images) {
  check_datatype(input, "BYTES");
  const Shape shape = read_shape(input.shape, {-1}, input.name, max_images);
  exchange.set_rows(static_cast<std::size_t>(shape[0]));
  if (input.binary) {
    const auto elements = bytes_from_binary(*input.binary, exchange.rows.size(), input.name);
    for (std::size_t i = 0; i < elements.size(); ++i) exchange.rows[i].encoded = elements[i];
    return;
  }
  std::size_t index = 0;
  flatten(input.data, shape, input.name, [&](dom::element value) {
    read_base64(value, index, exchange.decoded_bodies[index]);
    exchange.rows[index].encoded = exchange.decoded_bodies[index];
    ++index;
  });
}

// None unless it is a list of objects.
std::optional<dom::array> list_of_objects(dom::element value) {
  dom::array list;
  if (value.get(list) != simdjson::SUCCESS) return std::nullopt;
  for (const dom::element each : list) {
    if (!each.is_object()) return std::nullopt;
  }
  return list;
}

dom::object only_output(dom::array outputs) {
  for (const dom::element each : outputs) {
    const Value name = field(dom::object(each), "name");
    if (text_of(name) != kProbabilities) {
      throw HttpError(400, "there is no output " + shown(name) + ": there is `probabilities`");
    }
  }
  if (outputs.size() > 1) {
    throw HttpError(400, "output `probabilities` is asked for " + std::to_string(outputs.size()) + " times");
  }
  return dom::object(outputs.at(0));
}

// `binary`: what holds unless the output says otherwise.
void read_output(Value outputs, bool binary, V2Wanted& wanted) {
  wanted.binary = binary;
  wanted.classes.reset();
  if (!outputs) return;
  const auto list = list_of_objects(*outputs);
  if (!list) throw HttpError(400, R"(`outputs` must be a list like [{"name": "probabilities"}])");
  if (list->size() == 0) return;
  const auto parameters = parameters_of(only_output(*list), "output `probabilities`");
  check_no_shared_memory(parameters, "ask for the output as binary data");
  if (const Value value = parameter(parameters, "classification")) {
    const auto classes = size_of(*value);
    if (!classes) throw HttpError(400, "`classification` must be a number of classes");
    constexpr std::uint64_t kMost = std::numeric_limits<int>::max();
    if (*classes > 0) wanted.classes = static_cast<int>(std::min(*classes, kMost));
  }
  wanted.binary = flag(parameters, "binary_data", binary);
}

void read_id(Value id, V2Wanted& wanted) {
  wanted.id.clear();
  if (!id) return;
  const auto text = text_of(id);
  if (!text) throw HttpError(400, "`id` must be text, not " + type_of(id));
  wanted.id = *text;
}

}  // namespace

void read_infer(Exchange& exchange, dom::parser& parser, const ModelInfo& model, std::size_t max_images) {
  const std::size_t size = json_size(exchange.request);
  const dom::object values = read_object(exchange.request.body.substr(0, size), parser);
  read_id(present(values, "id"), exchange.v2);
  const auto parameters = parameters_of(values, "the request");
  read_output(present(values, "outputs"), flag(parameters, "binary_data_output", false), exchange.v2);
  const Input input = read_input(field(values, "inputs"), exchange.request.body.substr(size));
  check_text("user_id", parameter(parameters, "user_id"));
  check_text("quality", parameter(parameters, "quality"));
  if (input.name == kImages) {
    read_pixels(input, exchange, model, max_images);
  } else {
    read_files(input, exchange, max_images);
  }
}

}  // namespace manta::server
