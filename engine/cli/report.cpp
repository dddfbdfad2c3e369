#include "report.hpp"

#include <rapidjson/prettywriter.h>
#include <rapidjson/stringbuffer.h>

#include <cstdio>
#include <iomanip>
#include <iostream>

namespace manta::cli {
namespace {

using Writer = rapidjson::PrettyWriter<rapidjson::StringBuffer>;

void put(Writer& json, std::string_view text) {
  json.String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
}

template <typename Write>
void print_json(Write write) {
  rapidjson::StringBuffer buffer;
  Writer json(buffer);
  json.SetIndent(' ', 2);
  json.StartObject();
  write(json);
  json.EndObject();
  std::cout << buffer.GetString() << '\n';
}

void put_model(Writer& json, const Engine& engine) {
  const ModelInfo& model = engine.model();
  json.Key("model");
  put(json, model.name);
  json.Key("model_path");
  put(json, model.path);
  json.Key("sha256");
  put(json, model.sha256);
  json.Key("provider");
  put(json, engine.provider());
}

void put_summary(Writer& json, const LatencySummary& summary) {
  json.StartObject();
  json.Key("count");
  json.Uint64(summary.count);
  json.Key("mean_ms");
  json.Double(summary.mean * 1e3);
  json.Key("p50_ms");
  json.Double(summary.p50 * 1e3);
  json.Key("p99_ms");
  json.Double(summary.p99 * 1e3);
  json.EndObject();
}

void put_stages(Writer& json, const Engine& engine) {
  json.Key("stages");
  json.StartObject();
  for (const Stage stage : kStages) {
    const std::string_view stage_name = name(stage);
    json.Key(stage_name.data(), static_cast<rapidjson::SizeType>(stage_name.size()));
    put_summary(json, engine.latency(stage).summary());
  }
  json.EndObject();
}

void put_answer(Writer& json, const FileAnswer& answer) {
  json.StartObject();
  json.Key("file");
  put(json, answer.file);
  if (!answer.classified.error.empty()) {
    json.Key("error");
    put(json, answer.classified.error);
    json.EndObject();
    return;
  }
  json.Key("predictions");
  json.StartArray();
  for (const Prediction& prediction : answer.classified.predictions) {
    json.StartObject();
    json.Key("class_id");
    json.Int(prediction.class_id);
    json.Key("class_name");
    put(json, prediction.class_name);
    json.Key("confidence");
    json.Double(static_cast<double>(prediction.confidence));
    json.EndObject();
  }
  json.EndArray();
  json.Key("image_shape");
  json.StartArray();
  json.Int(answer.classified.size.height);
  json.Int(answer.classified.size.width);
  json.Int(3);
  json.EndArray();
  json.EndObject();
}

void print_stage_lines(const Engine& engine) {
  for (const Stage stage : kStages) {
    const LatencySummary summary = engine.latency(stage).summary();
    std::cout << "  " << std::left << std::setw(12) << name(stage) << std::right << "p50 " << std::setw(9)
              << summary.p50 * 1e6 << " us   p99 " << std::setw(9) << summary.p99 * 1e6 << " us   mean " << std::setw(9)
              << summary.mean * 1e6 << " us   (" << summary.count << ")\n";
  }
}

}  // namespace

void print_info(const Engine& engine, bool json) {
  const ModelInfo& model = engine.model();
  if (json) {
    print_json([&](Writer& out) {
      put_model(out, engine);
      out.Key("architecture");
      put(out, model.architecture);
      out.Key("created");
      put(out, model.created);
      out.Key("input_shape");
      out.StartArray();
      for (const int side : {-1, model.height, model.width, 3}) out.Int(side);
      out.EndArray();
      out.Key("class_names");
      out.StartArray();
      for (const auto& label : model.labels) put(out, label);
      out.EndArray();
      out.Key("options");
      put(out, engine.options().to_string());
      out.Key("onnxruntime");
      put(out, Engine::onnxruntime_version());
    });
    return;
  }
  std::cout << model.name << " (" << model.architecture << ", " << model.created << ")\n"
            << "  file      " << model.path << "\n  sha256    " << model.sha256 << "\n  input     uint8 RGB, "
            << model.height << "x" << model.width << "\n  classes   " << model.labels.size() << ":";
  for (const auto& label : model.labels) std::cout << ' ' << label;
  std::cout << "\n  runs on   " << engine.provider() << ", ONNX Runtime " << Engine::onnxruntime_version()
            << "\n  options   " << engine.options().to_string() << '\n';
}

void print_answers(const Engine& engine, const Answers& answers, bool json) {
  if (json) {
    print_json([&](Writer& out) {
      put_model(out, engine);
      out.Key("num_images");
      out.Uint64(answers.files.size() - answers.failed);
      out.Key("num_failed");
      out.Uint64(answers.failed);
      out.Key("seconds");
      out.Double(answers.seconds);
      put_stages(out, engine);
      out.Key("results");
      out.StartArray();
      for (const auto& answer : answers.files) put_answer(out, answer);
      out.EndArray();
    });
    return;
  }
  for (const auto& answer : answers.files) {
    if (!answer.classified.error.empty()) continue;  // told already, on stderr
    std::cout << answer.file;
    for (const Prediction& prediction : answer.classified.predictions) {
      std::cout << "  " << prediction.class_name << ' ' << std::fixed << std::setprecision(4) << prediction.confidence;
    }
    std::cout << '\n';
  }
  if (answers.files.size() > 1) {
    std::cout << std::setprecision(3) << answers.files.size() - answers.failed << " images in " << answers.seconds
              << " s, " << answers.failed << " could not be read\n"
              << std::setprecision(1);
    print_stage_lines(engine);
  }
}

void print_benchmark(const Engine& engine, const Arguments& arguments, const BenchmarkResult& result) {
  const double images = static_cast<double>(result.images);
  if (arguments.json) {
    print_json([&](Writer& out) {
      put_model(out, engine);
      out.Key("options");
      put(out, engine.options().to_string());
      out.Key("batch");
      out.Int(arguments.batch);
      out.Key("workers");
      out.Int(arguments.workers);
      out.Key("decode");
      out.Bool(arguments.decode);
      out.Key("images");
      out.Uint64(result.images);
      out.Key("images_per_second");
      out.Double(images / result.wall_seconds);
      out.Key("wall_us_per_image");
      out.Double(result.wall_seconds * 1e6 / images);
      out.Key("cpu_us_per_image");
      out.Double(result.cpu_seconds * 1e6 / images);
      out.Key("call");
      put_summary(out, result.call);
      put_stages(out, engine);
    });
    return;
  }
  std::cout << std::fixed << std::setprecision(1) << engine.model().name << " on " << engine.provider() << ", batch "
            << arguments.batch << ", " << arguments.workers << " callers, " << (arguments.decode ? "with" : "without")
            << " decoding\n"
            << "  " << images / result.wall_seconds << " images/s, " << result.cpu_seconds * 1e6 / images
            << " us of CPU an image\n"
            << "  call        p50 " << std::setw(9) << result.call.p50 * 1e6 << " us   p99 " << std::setw(9)
            << result.call.p99 * 1e6 << " us   mean " << std::setw(9) << result.call.mean * 1e6 << " us   ("
            << result.call.count << ")\n";
  print_stage_lines(engine);
}

}  // namespace manta::cli
