#include "protocol_v2.hpp"

#include <array>
#include <vector>

#include "json_writer.hpp"
#include "manta/version.hpp"
#include "problem.hpp"
#include "request_body.hpp"

namespace manta::server {
namespace {

namespace dom = simdjson::dom;

constexpr std::string_view kInput = "images";
constexpr std::string_view kOutput = "probabilities";
// Of a path, in messages.
constexpr std::size_t kShownPath = 200;

// "/a/b" -> {"a", "b"}
std::vector<std::string_view> parts_of(std::string_view path) {
  std::vector<std::string_view> parts;
  while (!path.empty()) {
    path.remove_prefix(1);  // the slash
    const std::string_view part = path.substr(0, path.find('/'));
    parts.push_back(part);
    path.remove_prefix(part.size());
  }
  return parts;
}

void check_method(const Exchange& exchange, std::string_view method) {
  if (exchange.request.method == method) return;
  throw HttpError(405, "this route takes " + std::string(method), method == "GET" ? "GET, HEAD" : std::string(method));
}

std::string text_field(dom::object object, std::string_view key, std::string_view what) {
  std::string_view text;
  if (object[key].get(text) != simdjson::SUCCESS) {
    throw HttpError(400, "`" + std::string(key) + "` of " + std::string(what) + " must be text");
  }
  return std::string(text);
}

// Writes the numbers of a flat or nested list, row by row; `at` never passes `end`.
std::uint8_t* put_numbers(dom::array values, std::uint8_t* at, const std::uint8_t* end) {
  for (const dom::element value : values) {
    std::uint64_t number = 0;
    dom::array inner;
    if (value.get(number) == simdjson::SUCCESS) {
      if (number > 255) throw HttpError(400, "`data` of a UINT8 tensor must be whole numbers from 0 to 255");
      if (at == end) throw HttpError(400, "`data` holds more numbers than `shape` says");
      *at++ = static_cast<std::uint8_t>(number);
    } else if (value.get(inner) == simdjson::SUCCESS) {  // as deep as the parser lets it be
      at = put_numbers(inner, at, end);
    } else {
      throw HttpError(400, "`data` of a UINT8 tensor must be whole numbers from 0 to 255");
    }
  }
  return at;
}

// What is asked for, when anything is, must be what there is.
void check_outputs(dom::object request) {
  dom::element value;
  if (request["outputs"].get(value) != simdjson::SUCCESS) return;
  dom::array outputs;
  if (value.get(outputs) != simdjson::SUCCESS) throw HttpError(400, "`outputs` must be a list");
  for (const dom::element entry : outputs) {
    dom::object output;
    if (entry.get(output) != simdjson::SUCCESS) throw HttpError(400, "each of `outputs` must be an object");
    const std::string name = text_field(output, "name", "an output");
    if (name != kOutput) throw HttpError(400, "there is no output `" + name + "`, only `" + std::string(kOutput) + "`");
    bool binary = false;
    if (output["parameters"]["binary_data"].get(binary) == simdjson::SUCCESS && binary) {
      throw HttpError(400, "binary tensors are not supported: ask for JSON");
    }
    std::int64_t classification = 0;
    if (output["parameters"]["classification"].get(classification) == simdjson::SUCCESS && classification > 0) {
      throw HttpError(400, "the classification extension is not supported");
    }
  }
}

void put_tensor(JsonWriter& json, std::string_view name, std::string_view datatype,
                std::initializer_list<std::int64_t> shape) {
  json.key("name");
  json.text(name);
  json.key("datatype");
  json.text(datatype);
  json.key("shape");
  json.StartArray();
  for (const std::int64_t side : shape) json.Int64(side);
  json.EndArray();
}

}  // namespace

ProtocolV2::ProtocolV2(const Engine& engine, std::string model_version, std::size_t max_images)
    : engine_(engine), model_version_(std::move(model_version)), max_images_(max_images) {}

bool ProtocolV2::owns(std::string_view path) const {
  return path == "/v2" || path.substr(0, 4) == "/v2/";
}

bool ProtocolV2::handle(Exchange& exchange, dom::parser& parser) const {
  const auto parts = parts_of(exchange.request.path);
  StringOutput output(exchange.response.body);
  JsonWriter json(output);
  if (parts.size() == 1) {
    check_method(exchange, "GET");
    json.StartObject();
    json.key("name");
    json.text("manta");
    json.key("version");
    json.text(kVersion);
    json.key("extensions");
    json.StartArray();
    json.EndArray();
    json.EndObject();
    return true;
  }
  if (parts.size() == 3 && parts[1] == "health" && (parts[2] == "live" || parts[2] == "ready")) {
    check_method(exchange, "GET");
    json.StartObject();
    json.key(parts[2]);
    json.Bool(true);
    json.EndObject();
    return true;
  }
  if (parts.size() < 3 || parts[1] != "models") {
    throw HttpError(404,
                    "there is no route " + printable(std::string_view(exchange.request.path).substr(0, kShownPath)));
  }
  const std::string& name = engine_.model().name;
  if (parts[2] != name) throw HttpError(404, "there is no model `" + printable(parts[2].substr(0, kShownPath)) + "`");
  const bool has_version = parts.size() >= 5 && parts[3] == "versions";
  if (has_version && parts[4] != model_version_) {
    throw HttpError(404, "model `" + name + "` has no version `" + printable(parts[4].substr(0, kShownPath)) + "`");
  }
  const std::size_t used = has_version ? 5 : 3;
  const std::string_view verb = parts.size() == used + 1 ? parts[used] : "";
  if (parts.size() == used) {
    check_method(exchange, "GET");
    metadata(exchange);
    return true;
  }
  if (verb == "ready") {
    check_method(exchange, "GET");
    json.StartObject();
    json.key("name");
    json.text(name);
    json.key("ready");
    json.Bool(true);
    json.EndObject();
    return true;
  }
  if (verb == "infer") {
    check_method(exchange, "POST");
    read_infer(exchange, parser);
    return false;
  }
  throw HttpError(404, "there is no route " + printable(std::string_view(exchange.request.path).substr(0, kShownPath)));
}

void ProtocolV2::metadata(Exchange& exchange) const {
  const ModelInfo& model = engine_.model();
  StringOutput output(exchange.response.body);
  JsonWriter json(output);
  json.StartObject();
  json.key("name");
  json.text(model.name);
  json.key("versions");
  json.StartArray();
  json.text(model_version_);
  json.EndArray();
  json.key("platform");
  json.text("onnx_onnxv1");
  json.key("inputs");
  json.StartArray();
  json.StartObject();
  put_tensor(json, kInput, "UINT8", {-1, model.height, model.width, 3});
  json.EndObject();
  json.EndArray();
  json.key("outputs");
  json.StartArray();
  json.StartObject();
  put_tensor(json, kOutput, "FP32", {-1, static_cast<std::int64_t>(engine_.classes())});
  json.EndObject();
  json.EndArray();
  json.EndObject();
}

void ProtocolV2::read_infer(Exchange& exchange, dom::parser& parser) const {
  if (exchange.request.has_binary_tensors) {
    throw HttpError(400, "binary tensors are not supported: send `data` as JSON");
  }
  const std::string kind = media_type(exchange.request);
  if (!kind.empty() && kind != "application/json") {
    throw HttpError(415, "content type " + printable(kind) + " is not supported: send application/json");
  }
  const dom::object request = read_object(exchange.request, parser);
  exchange.v2_id.clear();
  dom::element id;
  if (request["id"].get(id) == simdjson::SUCCESS) exchange.v2_id = text_field(request, "id", "the request");
  dom::array inputs;
  if (request["inputs"].get(inputs) != simdjson::SUCCESS || inputs.size() != 1) {
    throw HttpError(400, "`inputs` must be a list of one tensor, `images`");
  }
  dom::object tensor;
  if (inputs.at(0).get(tensor) != simdjson::SUCCESS) throw HttpError(400, "a tensor must be an object");
  read_images(tensor, exchange);
  check_outputs(request);
}

void ProtocolV2::read_images(dom::object tensor, Exchange& exchange) const {
  const std::string name = text_field(tensor, "name", "a tensor");
  if (name != kInput) throw HttpError(400, "there is no input `" + name + "`, only `" + std::string(kInput) + "`");
  const std::string datatype = text_field(tensor, "datatype", "a tensor");
  if (datatype != "UINT8") throw HttpError(400, "`images` must be UINT8, not " + datatype);

  const std::array<std::int64_t, 3> sides = {engine_.model().height, engine_.model().width, 3};
  const std::string expected = "[N, " + std::to_string(sides[0]) + ", " + std::to_string(sides[1]) + ", 3]";
  dom::array shape;
  std::int64_t count = 0;
  if (tensor["shape"].get(shape) != simdjson::SUCCESS || shape.size() != 4 ||
      shape.at(0).get(count) != simdjson::SUCCESS) {
    throw HttpError(400, "`shape` of `images` must be " + expected);
  }
  for (std::size_t i = 0; i < sides.size(); ++i) {
    std::int64_t side = 0;
    if (shape.at(i + 1).get(side) != simdjson::SUCCESS || side != sides[i]) {
      throw HttpError(400, "`shape` of `images` must be " + expected);
    }
  }
  if (count < 1 || count > static_cast<std::int64_t>(max_images_)) {
    throw HttpError(400,
                    "`images` must hold 1 to " + std::to_string(max_images_) + " images, not " + std::to_string(count));
  }
  dom::array data;
  if (tensor["data"].get(data) != simdjson::SUCCESS)
    throw HttpError(400, "`data` of `images` must be a list of numbers");
  exchange.rows.clear();
  exchange.count = static_cast<std::size_t>(count);
  exchange.pixels.resize(exchange.count * engine_.input_bytes());
  std::uint8_t* begin = exchange.pixels.data();
  const std::uint8_t* end = begin + exchange.pixels.size();
  if (put_numbers(data, begin, end) != end) throw HttpError(400, "`data` holds fewer numbers than `shape` says");
}

void ProtocolV2::answer(Exchange& exchange) const {
  StringOutput output(exchange.response.body);
  JsonWriter json(output);
  json.StartObject();
  json.key("model_name");
  json.text(engine_.model().name);
  json.key("model_version");
  json.text(model_version_);
  if (!exchange.v2_id.empty()) {
    json.key("id");
    json.text(exchange.v2_id);
  }
  json.key("outputs");
  json.StartArray();
  json.StartObject();
  put_tensor(json, kOutput, "FP32",
             {static_cast<std::int64_t>(exchange.count), static_cast<std::int64_t>(engine_.classes())});
  json.key("data");
  json.StartArray();
  for (const float probability : exchange.rows_of_probabilities) json.Double(static_cast<double>(probability));
  json.EndArray();
  json.EndObject();
  json.EndArray();
  json.EndObject();
}

}  // namespace manta::server
