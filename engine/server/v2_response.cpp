#include "v2_response.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <iterator>

#include "program/json_writer.hpp"
#include "v2_request.hpp"
#include "v2_tensors.hpp"

namespace manta::server {
namespace {

using program::JsonWriter;

// What the one output holds, either as numbers or as texts.
struct Output {
  std::string_view datatype;
  std::size_t rows;
  std::size_t columns;
  const std::vector<float>* numbers;
  std::vector<std::string> texts;
};

Output output_of(const Exchange& exchange, const Engine& engine) {
  const std::size_t columns = engine.classes();
  if (!exchange.v2.classes) return {"FP32", exchange.count, columns, &exchange.rows_of_probabilities, {}};
  Output output{"BYTES", exchange.count, 0, nullptr, {}};
  for (std::size_t row = 0; row < exchange.count; ++row) {
    const float* probabilities = &exchange.rows_of_probabilities[row * columns];
    std::vector<std::string> texts = classification(engine, probabilities, *exchange.v2.classes);
    output.columns = texts.size();
    std::move(texts.begin(), texts.end(), std::back_inserter(output.texts));
  }
  return output;
}

// Little-endian, as every machine that this is built for.
std::string binary_of(const Output& output) {
  std::string bytes;
  if (output.numbers != nullptr) {
    bytes.resize(output.numbers->size() * sizeof(float));
    std::memcpy(bytes.data(), output.numbers->data(), bytes.size());
  }
  for (const std::string& text : output.texts) append_bytes(text, bytes);
  return bytes;
}

void put_data(JsonWriter& json, const Output& output) {
  if (output.numbers != nullptr) {
    json.list("data", *output.numbers, [&](float number) { json.number(static_cast<double>(number)); });
  } else {
    json.list("data", output.texts, [&](const std::string& text) { json.text(text); });
  }
}

}  // namespace

void write_infer_answer(Exchange& exchange, const Engine& engine, std::string_view model_version) {
  const Output output = output_of(exchange, engine);
  const std::string binary = exchange.v2.binary ? binary_of(output) : "";
  Response& response = exchange.response;
  program::StringOutput text(response.body);
  JsonWriter json(text);
  json.StartObject();
  json.member("model_name", engine.model().name);
  json.member("model_version", model_version);
  if (!exchange.v2.id.empty()) json.member("id", exchange.v2.id);
  json.key("parameters");
  json.StartObject();
  json.member("request_id", exchange.request.id);
  json.EndObject();
  json.key("outputs");
  json.StartArray();
  json.StartObject();
  json.member("name", kProbabilities);
  json.member("datatype", output.datatype);
  json.list("shape", std::array<std::uint64_t, 2>{output.rows, output.columns},
            [&](std::uint64_t side) { json.Uint64(side); });
  if (exchange.v2.binary) {
    json.key("parameters");
    json.StartObject();
    json.member("binary_data_size", binary.size());
    json.EndObject();
  } else {
    put_data(json, output);
  }
  json.EndObject();
  json.EndArray();
  json.EndObject();
  if (exchange.v2.binary) {
    response.json_bytes = response.body.size();
    response.content_type = "application/octet-stream";
    response.body += binary;
  }
}

std::vector<std::string> classification(const Engine& engine, const float* probabilities, int classes) {
  std::vector<Prediction> best;
  engine.top(probabilities, classes, best);
  std::vector<std::string> texts;
  for (const Prediction& each : best) {
    std::array<char, 64> value{};
    std::snprintf(value.data(), value.size(), "%f:%d:", static_cast<double>(each.confidence), each.class_id);
    texts.push_back(value.data() + std::string(each.class_name));
  }
  return texts;
}

}  // namespace manta::server
