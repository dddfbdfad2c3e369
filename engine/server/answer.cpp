#include "answer.hpp"

#include <array>
#include <cmath>
#include <cstdio>
#include <ctime>

#include "manta/version.hpp"
#include "program/classified_json.hpp"
#include "program/json_writer.hpp"
#include "program/text.hpp"

namespace manta::server {
namespace {

using program::JsonWriter;
using program::StringOutput;

// To a thousandth.
double rounded(double value) {
  return std::round(value * 1000) / 1000;
}

double milliseconds_since(Clock::time_point started) {
  return rounded(std::chrono::duration<double, std::milli>(Clock::now() - started).count());
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
  program::put_predictions(json, best_);
}

void AnswerWriter::put_row(JsonWriter& json, const Exchange& exchange, std::size_t index) {
  const Row& row = exchange.rows[index];
  json.StartObject();
  json.member("image_index", index);
  if (row.error.empty()) {
    put_predictions(json, exchange, row);
    program::put_image_shape(json, row.size);
    json.member("model_version", model_version_);
  } else {
    json.member("error", row.error);
  }
  json.EndObject();
}

void AnswerWriter::predict(Exchange& exchange) {
  StringOutput output(exchange.response.body);
  JsonWriter json(output);
  json.StartObject();
  put_predictions(json, exchange, exchange.rows[0]);
  json.member("model_version", model_version_);
  json.member("request_id", exchange.request.id);
  json.member("inference_time_ms", milliseconds_since(exchange.started));
  program::put_image_shape(json, exchange.rows[0].size);
  json.EndObject();
}

void AnswerWriter::predict_batch(Exchange& exchange) {
  StringOutput output(exchange.response.body);
  JsonWriter json(output);
  json.StartObject();
  json.key("batch_predictions");
  json.StartArray();
  for (std::size_t i = 0; i < exchange.rows.size(); ++i) put_row(json, exchange, i);
  json.EndArray();
  const double total = milliseconds_since(exchange.started);
  json.member("num_images", exchange.rows.size());
  json.member("model_version", model_version_);
  json.member("request_id", exchange.request.id);
  json.member("total_inference_time_ms", total);
  json.member("average_time_per_image_ms", rounded(total / static_cast<double>(exchange.rows.size())));
  json.EndObject();
}

void AnswerWriter::health(Exchange& exchange) const {
  StringOutput output(exchange.response.body);
  JsonWriter json(output);
  json.StartObject();
  json.member("status", "healthy");
  json.member("timestamp", now());
  json.member("service", "manta");
  json.member("version", kVersion);
  json.EndObject();
}

void AnswerWriter::ready(Exchange& exchange) const {
  StringOutput output(exchange.response.body);
  JsonWriter json(output);
  json.StartObject();
  json.member("ready", true);
  json.member("model", engine_.model().name);
  json.member("revision", 0);
  json.member("model_version", model_version_);
  json.null_member("problem");
  json.EndObject();
}

void AnswerWriter::model_info(Exchange& exchange, std::size_t queued) const {
  const ModelInfo& model = engine_.model();
  const auto classes = static_cast<int>(engine_.classes());
  StringOutput output(exchange.response.body);
  JsonWriter json(output);
  const auto put_side = [&](int side) { json.Int(side); };
  json.StartObject();
  json.member("model", model.name);
  json.member("model_version", model_version_);
  json.member("model_path", program::printable(model.path));
  json.member("architecture", model.architecture);
  json.list("input_shape", std::array<int, 4>{-1, model.height, model.width, 3}, put_side);
  json.list("output_shape", std::array<int, 2>{-1, classes}, put_side);
  json.member("num_classes", classes);
  json.list("class_names", model.labels, [&](const std::string& label) { json.text(label); });
  json.member("revision", 0);
  json.key("versions");
  json.StartArray();
  put_version(json, queued);
  json.EndArray();
  json.EndObject();
}

// The one that there is.
void AnswerWriter::put_version(JsonWriter& json, std::size_t queued) const {
  json.StartObject();
  json.member("version", model_version_);
  json.list("aliases", std::array<std::string_view, 1>{"champion"}, [&](std::string_view alias) { json.text(alias); });
  json.member("weight", 1.0);
  json.member("application", "manta-engine");
  json.member("variant", engine_.options().variant);
  json.null_member("accuracy");
  json.member("running_replicas", 1);
  json.member("warm", true);
  json.null_member("taken_out");
  json.member("images_waiting", queued);
  json.member("images_in_flight", 0);
  json.EndObject();
}

}  // namespace manta::server
