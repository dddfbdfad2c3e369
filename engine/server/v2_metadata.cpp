#include "v2_metadata.hpp"

#include <array>
#include <vector>

#include "manta/version.hpp"
#include "program/json_writer.hpp"
#include "v2_request.hpp"

namespace manta::server {
namespace {

using program::JsonWriter;
using program::StringOutput;

constexpr std::string_view kPlatform = "onnxruntime_onnx";
constexpr std::array<std::string_view, 6> kExtensions = {"binary_tensor_data", "classification", "model_configuration",
                                                         "model_repository",   "parameters",     "statistics"};

// The text of a JSON object, whose members `write` writes.
template <typename Write>
std::string object(Write write) {
  std::string text;
  StringOutput output(text);
  JsonWriter json(output);
  json.StartObject();
  write(json);
  json.EndObject();
  return text;
}

// An object within another, or without a name within a list.
template <typename Write>
void put_object(JsonWriter& json, std::string_view name, Write write) {
  if (!name.empty()) json.key(name);
  json.StartObject();
  write();
  json.EndObject();
}

template <typename Write>
void put_list_of_one(JsonWriter& json, std::string_view name, Write write) {
  json.key(name);
  json.StartArray();
  put_object(json, "", write);
  json.EndArray();
}

void put_sides(JsonWriter& json, std::string_view name, const std::vector<std::int64_t>& sides) {
  json.list(name, sides, [&](std::int64_t side) { json.Int64(side); });
}

void put_tensor(JsonWriter& json, std::string_view name, std::string_view datatype,
                const std::vector<std::int64_t>& shape) {
  json.member("name", name);
  json.member("datatype", datatype);
  put_sides(json, "shape", shape);
}

std::int64_t classes_of(const Engine& engine) {
  return static_cast<std::int64_t>(engine.classes());
}

std::string labels_as_json(const Engine& engine) {
  std::string text;
  StringOutput output(text);
  JsonWriter json(output);
  json.StartArray();
  for (const std::string& label : engine.model().labels) json.text(label);
  json.EndArray();
  return text;
}

void put_duration(JsonWriter& json, std::string_view name, const Duration& duration) {
  put_object(json, name, [&] {
    json.member("count", duration.count);
    json.member("ns", duration.nanoseconds);
  });
}

void put_batch(JsonWriter& json, std::size_t size, const Duration& duration) {
  put_object(json, "", [&] {
    json.member("batch_size", size);
    put_duration(json, "compute_input", {});
    put_duration(json, "compute_infer", duration);
    put_duration(json, "compute_output", {});
  });
}

std::uint64_t batches_in_all(const BatchTotals& totals) {
  std::uint64_t count = 0;
  for (const auto& entry : totals.batches) count += entry.second.count;
  return count;
}

}  // namespace

std::string server_metadata() {
  return object([](JsonWriter& json) {
    json.member("name", "manta");
    json.member("version", kVersion);
    json.list("extensions", kExtensions, [&](std::string_view name) { json.text(name); });
  });
}

std::string model_readiness(const Engine& engine) {
  return object([&](JsonWriter& json) {
    json.member("name", engine.model().name);
    json.member("ready", true);
  });
}

std::string model_metadata(const Engine& engine, std::string_view version) {
  const ModelInfo& model = engine.model();
  return object([&](JsonWriter& json) {
    json.member("name", model.name);
    json.list("versions", std::array<std::string_view, 1>{version}, [&](std::string_view each) { json.text(each); });
    json.member("platform", kPlatform);
    put_list_of_one(json, "inputs", [&] { put_tensor(json, kImages, "UINT8", {-1, model.height, model.width, 3}); });
    put_list_of_one(json, "outputs", [&] { put_tensor(json, kProbabilities, "FP32", {-1, classes_of(engine)}); });
    put_object(json, "parameters", [&] {
      json.list("labels", model.labels, [&](const std::string& label) { json.text(label); });
      put_list_of_one(json, "alternative_inputs", [&] {
        put_tensor(json, kEncoded, "BYTES", {-1});
        json.member("instead_of", kImages);
        json.member("content", "JPEG, PNG, BMP or WebP files of any size; in base64 where the data is JSON");
      });
    });
  });
}

std::string model_config(const Engine& engine, std::string_view version, std::size_t max_images) {
  const ModelInfo& model = engine.model();
  return object([&](JsonWriter& json) {
    json.member("name", model.name);
    json.member("platform", kPlatform);
    json.member("backend", "onnxruntime");
    json.member("max_batch_size", max_images);
    put_list_of_one(json, "input", [&] {
      json.member("name", kImages);
      json.member("data_type", "TYPE_UINT8");
      json.member("format", "FORMAT_NHWC");
      put_sides(json, "dims", {model.height, model.width, 3});
      json.member("optional", false);
    });
    put_list_of_one(json, "output", [&] {
      json.member("name", kProbabilities);
      json.member("data_type", "TYPE_FP32");
      put_sides(json, "dims", {classes_of(engine)});
      json.member("label_filename", "manifest.json");
    });
    put_object(json, "dynamic_batching", [&] {
      put_sides(json, "preferred_batch_size", {});
      json.member("max_queue_delay_microseconds", 0);
    });
    put_list_of_one(json, "instance_group", [&] {
      json.member("name", version);
      json.member("kind", engine.provider() == "cpu" ? "KIND_CPU" : "KIND_GPU");
      json.member("count", 1);
    });
    put_object(json, "parameters",
               [&] { put_object(json, "labels", [&] { json.member("string_value", labels_as_json(engine)); }); });
  });
}

std::string model_statistics(const Engine& engine, std::string_view version, const BatchTotals& totals) {
  return object([&](JsonWriter& json) {
    put_list_of_one(json, "model_stats", [&] {
      json.member("name", engine.model().name);
      json.member("version", version);
      json.member("last_inference", totals.last_milliseconds);
      json.member("inference_count", totals.images);
      json.member("execution_count", batches_in_all(totals));
      put_object(json, "inference_stats", [&] {
        put_duration(json, "success", totals.success);
        put_duration(json, "fail", totals.fail);
        put_duration(json, "queue", totals.queue);
        put_duration(json, "compute_input", {});
        put_duration(json, "compute_infer", totals.infer);
        put_duration(json, "compute_output", {});
        put_duration(json, "cache_hit", {});
        put_duration(json, "cache_miss", {});
      });
      json.list("batch_stats", totals.batches, [&](const auto& entry) { put_batch(json, entry.first, entry.second); });
    });
  });
}

std::string repository_index(const Engine& engine, std::string_view version) {
  std::string text = "[";
  text += object([&](JsonWriter& json) {
    json.member("name", engine.model().name);
    json.member("version", version);
    json.member("state", "READY");
    json.member("reason", "");
  });
  return text + "]";
}

}  // namespace manta::server
