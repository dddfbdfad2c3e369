#include "report.hpp"

#include <array>
#include <iomanip>
#include <iostream>

#include "program/classified_json.hpp"
#include "program/json_writer.hpp"
#include "program/text.hpp"

namespace manta::cli {
namespace {

using Writer = program::PrettyJsonWriter;

template <typename Write>
void print_json(Write write) {
  std::cout << program::pretty_object(write) << '\n';
}

void put_model(Writer& json, const Engine& engine) {
  const ModelInfo& model = engine.model();
  json.member("model", model.name);
  json.member("model_path", program::printable(model.path));
  json.member("sha256", model.sha256);
  json.member("provider", engine.provider());
}

void put_summary(Writer& json, const LatencySummary& summary) {
  json.StartObject();
  json.member("count", summary.count);
  program::put_latency(json, summary);
  json.EndObject();
}

void put_stages(Writer& json, const Engine& engine) {
  json.key("stages");
  json.StartObject();
  for (const Stage stage : kStages) {
    json.key(name(stage));
    put_summary(json, engine.latency(stage).summary());
  }
  json.EndObject();
}

void put_answer(Writer& json, const FileAnswer& answer) {
  json.StartObject();
  json.member("file", program::printable(answer.file));
  if (!answer.classified.error.empty()) {
    json.member("error", program::printable(answer.classified.error));
  } else {
    program::put_predictions(json, answer.classified.predictions);
    program::put_image_shape(json, answer.classified.size);
  }
  json.EndObject();
}

// In microseconds. `label` is 12 columns wide.
void print_latency(std::string_view label, const LatencySummary& summary) {
  std::cout << std::fixed << std::setprecision(1) << "  " << std::left << std::setw(12) << label << std::right << "p50 "
            << std::setw(9) << summary.p50 * 1e6 << " us   p99 " << std::setw(9) << summary.p99 * 1e6 << " us   mean "
            << std::setw(9) << summary.mean * 1e6 << " us   (" << summary.count << ")\n";
}

void print_stages(const Engine& engine) {
  for (const Stage stage : kStages) print_latency(name(stage), engine.latency(stage).summary());
}

void print_info_as_json(const Engine& engine) {
  const ModelInfo& model = engine.model();
  print_json([&](Writer& json) {
    put_model(json, engine);
    json.member("architecture", model.architecture);
    json.member("created", model.created);
    json.list("input_shape", std::array<int, 4>{-1, model.height, model.width, 3}, [&](int side) { json.Int(side); });
    json.list("class_names", model.labels, [&](const std::string& label) { json.text(label); });
    json.member("options", engine.options().to_string());
    json.member("onnxruntime", Engine::onnxruntime_version());
  });
}

void print_answers_as_json(const Engine& engine, const Answers& answers) {
  print_json([&](Writer& json) {
    put_model(json, engine);
    json.member("num_images", answers.files.size() - answers.failed);
    json.member("num_failed", answers.failed);
    json.member("seconds", answers.seconds);
    put_stages(json, engine);
    json.list("results", answers.files, [&](const FileAnswer& answer) { put_answer(json, answer); });
  });
}

void print_benchmark_as_json(const Engine& engine, const Arguments& arguments, const BenchmarkResult& result) {
  const auto images = static_cast<double>(result.images);
  print_json([&](Writer& json) {
    put_model(json, engine);
    json.member("options", engine.options().to_string());
    json.member("batch", arguments.batch);
    json.member("workers", arguments.workers);
    json.member("decode", arguments.decode);
    json.member("images", result.images);
    json.member("images_per_second", images / result.wall_seconds);
    json.member("wall_us_per_image", result.wall_seconds * 1e6 / images);
    json.member("cpu_us_per_image", result.cpu_seconds * 1e6 / images);
    json.key("call");
    put_summary(json, result.call);
    put_stages(json, engine);
  });
}

}  // namespace

void print_info(const Engine& engine, bool json) {
  if (json) {
    print_info_as_json(engine);
    return;
  }
  const ModelInfo& model = engine.model();
  std::cout << model.name << " (" << model.architecture << ", " << model.created << ")\n"
            << "  file      " << model.path << "\n  sha256    " << model.sha256 << "\n  input     uint8 RGB, "
            << model.height << "x" << model.width << "\n  classes   " << model.labels.size() << ":";
  for (const auto& label : model.labels) std::cout << ' ' << label;
  std::cout << "\n  runs on   " << engine.provider() << ", ONNX Runtime " << Engine::onnxruntime_version()
            << "\n  options   " << engine.options().to_string() << '\n';
}

void print_answers(const Engine& engine, const Answers& answers, bool json) {
  if (json) {
    print_answers_as_json(engine, answers);
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
    std::cout << std::fixed << std::setprecision(3) << answers.files.size() - answers.failed << " images in "
              << answers.seconds << " s, " << answers.failed << " could not be read\n";
    print_stages(engine);
  }
}

void print_benchmark(const Engine& engine, const Arguments& arguments, const BenchmarkResult& result) {
  if (arguments.json) {
    print_benchmark_as_json(engine, arguments, result);
    return;
  }
  const auto images = static_cast<double>(result.images);
  std::cout << std::fixed << std::setprecision(1) << engine.model().name << " on " << engine.provider() << ", batch "
            << arguments.batch << ", " << arguments.workers << " callers, " << (arguments.decode ? "with" : "without")
            << " decoding\n"
            << "  " << images / result.wall_seconds << " images/s, " << result.cpu_seconds * 1e6 / images
            << " us of CPU an image\n";
  print_latency("call", result.call);
  print_stages(engine);
}

}  // namespace manta::cli
