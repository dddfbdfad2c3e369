#include "answer.hpp"

#include <cmath>
#include <cstdio>
#include <ctime>

#include "json_writer.hpp"
#include "manta/version.hpp"

namespace manta::server {
namespace {

double milliseconds_since(Clock::time_point started) {
  const double milliseconds = std::chrono::duration<double, std::milli>(Clock::now() - started).count();
  return std::round(milliseconds * 1000) / 1000;
}

void put_shape(JsonWriter& json, ImageSize size) {
  json.key("image_shape");
  json.StartArray();
  json.Int(size.height);
  json.Int(size.width);
  json.Int(3);
  json.EndArray();
}

std::string now() {
  const auto time = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  const auto milliseconds =
      std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count() % 1000;
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  std::array<char, 64> text{};
  const std::size_t length = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &utc);
  std::snprintf(text.data() + length, text.size() - length, ".%03d+00:00", static_cast<int>(milliseconds));
  return text.data();
}

}  // namespace

AnswerWriter::AnswerWriter(const Engine& engine, std::string model_version)
    : engine_(engine), model_version_(std::move(model_version)) {}

void AnswerWriter::put_predictions(JsonWriter& json, const Exchange& exchange, const Row& row) {
  engine_.top(&exchange.rows_of_probabilities[row.slot * engine_.classes()], exchange.top_k, best_);
  json.key("predictions");
  json.StartArray();
  for (const Prediction& prediction : best_) {
    json.StartObject();
    json.key("class_id");
    json.Int(prediction.class_id);
    json.key("class_name");
    json.text(prediction.class_name);
    json.key("confidence");
    json.Double(static_cast<double>(prediction.confidence));
    json.EndObject();
  }
  json.EndArray();
}

void AnswerWriter::predict(Exchange& exchange) {
  StringOutput output(exchange.response.body);
  JsonWriter json(output);
  json.StartObject();
  put_predictions(json, exchange, exchange.rows[0]);
  json.key("model_version");
  json.text(model_version_);
  json.key("request_id");
  json.text(exchange.request.id);
  json.key("inference_time_ms");
  json.Double(milliseconds_since(exchange.started));
  put_shape(json, exchange.rows[0].size);
  json.EndObject();
}

void AnswerWriter::predict_batch(Exchange& exchange) {
  StringOutput output(exchange.response.body);
  JsonWriter json(output);
  json.StartObject();
  json.key("batch_predictions");
  json.StartArray();
  int index = 0;
  for (const Row& row : exchange.rows) {
    json.StartObject();
    json.key("image_index");
    json.Int(index++);
    if (row.error.empty()) {
      put_predictions(json, exchange, row);
      put_shape(json, row.size);
      json.key("model_version");
      json.text(model_version_);
    } else {
      json.key("error");
      json.text(row.error);
    }
    json.EndObject();
  }
  json.EndArray();
  const double total = milliseconds_since(exchange.started);
  json.key("num_images");
  json.Int(index);
  json.key("model_version");
  json.text(model_version_);
  json.key("request_id");
  json.text(exchange.request.id);
  json.key("total_inference_time_ms");
  json.Double(total);
  json.key("average_time_per_image_ms");
  json.Double(std::round(total / index * 1000) / 1000);
  json.EndObject();
}

void AnswerWriter::health(Exchange& exchange) const {
  StringOutput output(exchange.response.body);
  JsonWriter json(output);
  json.StartObject();
  json.key("status");
  json.text("healthy");
  json.key("timestamp");
  json.text(now());
  json.key("service");
  json.text("manta");
  json.key("version");
  json.text(kVersion);
  json.EndObject();
}

void AnswerWriter::ready(Exchange& exchange) const {
  StringOutput output(exchange.response.body);
  JsonWriter json(output);
  json.StartObject();
  json.key("ready");
  json.Bool(true);
  json.key("model");
  json.text(engine_.model().name);
  json.key("revision");
  json.Int(0);
  json.key("model_version");
  json.text(model_version_);
  json.key("problem");
  json.Null();
  json.EndObject();
}

void AnswerWriter::model_info(Exchange& exchange, std::size_t queued) const {
  const ModelInfo& model = engine_.model();
  const auto classes = static_cast<unsigned>(engine_.classes());
  StringOutput output(exchange.response.body);
  JsonWriter json(output);
  json.StartObject();
  json.key("model");
  json.text(model.name);
  json.key("model_version");
  json.text(model_version_);
  json.key("model_path");
  json.text(model.path);
  json.key("architecture");
  json.text(model.architecture);
  json.key("input_shape");
  json.StartArray();
  for (const int side : {-1, model.height, model.width, 3}) json.Int(side);
  json.EndArray();
  json.key("output_shape");
  json.StartArray();
  json.Int(-1);
  json.Uint(classes);
  json.EndArray();
  json.key("num_classes");
  json.Uint(classes);
  json.key("class_names");
  json.StartArray();
  for (const std::string& label : model.labels) json.text(label);
  json.EndArray();
  json.key("revision");
  json.Int(0);
  json.key("versions");
  json.StartArray();
  json.StartObject();
  json.key("version");
  json.text(model_version_);
  json.key("aliases");
  json.StartArray();
  json.text("champion");
  json.EndArray();
  json.key("weight");
  json.Double(1);
  json.key("application");
  json.text("manta-engine");
  json.key("variant");
  json.text(engine_.options().variant);
  json.key("accuracy");
  json.Null();
  json.key("running_replicas");
  json.Int(1);
  json.key("warm");
  json.Bool(true);
  json.key("taken_out");
  json.Null();
  json.key("images_waiting");
  json.Uint64(queued);
  json.key("images_in_flight");
  json.Int(0);
  json.EndObject();
  json.EndArray();
  json.EndObject();
}

}  // namespace manta::server
