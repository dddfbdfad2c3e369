#include "manta/engine.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <thread>
#include <type_traits>
#include <utility>

#include "allocations.hpp"
#include "golden.hpp"

namespace manta {
namespace {

namespace fs = std::filesystem;

std::string solid(int height, int width, const cv::Scalar& bgr, const char* type = ".png") {
  std::vector<std::uint8_t> bytes;
  cv::imencode(type, cv::Mat(height, width, CV_8UC3, bgr), bytes);
  return {bytes.begin(), bytes.end()};
}

const cv::Scalar kRed(0, 0, 255);
const cv::Scalar kGreen(0, 255, 0);
const cv::Scalar kBlue(255, 0, 0);

fs::path scratch(const std::string& name) {
  fs::path folder = fs::temp_directory_path() / ("manta-engine-" + std::to_string(getpid())) / name;
  fs::remove_all(folder);
  fs::create_directories(folder);
  return folder;
}

void write(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string message_of(const fs::path& model, const EngineOptions& options = {}) {
  try {
    const Engine engine(model, options);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Engine, KnowsItsModel) {
  const Engine engine(tests::bundle("colours"));
  EXPECT_EQ(engine.model().labels, (std::vector<std::string>{"red", "green", "blue"}));
  EXPECT_EQ(engine.model().name, "colours");
  EXPECT_EQ(engine.model().height, 8);
  EXPECT_EQ(engine.model().sha256.size(), 64U);
  EXPECT_EQ(engine.input_bytes(), 8U * 8 * 3);
  EXPECT_EQ(engine.provider(), "cpu");
  EXPECT_EQ(engine.provider_message(), "");
}

TEST(Engine, ALoneFileIsEnough) {
  const Engine engine(tests::bundle("colours") / "model.onnx");
  EXPECT_EQ(engine.classify(solid(20, 30, kBlue)).predictions[0].class_name, "blue");
}

TEST(Engine, AFileUriNamesABundle) {
  const fs::path folder = scratch("my 100%25 bundle #1");
  for (const char* name : {"manifest.json", "model.onnx"}) {
    write(folder / name, tests::read(tests::bundle("colours") / name));
  }
  const std::string parent = folder.parent_path().string();
  for (const std::string host : {"", "localhost"}) {
    const fs::path uri = "file://" + host + parent + "/my%20100%2525%20bundle%20%231";
    EXPECT_EQ(Engine(uri).model().name, "colours") << uri;
    EXPECT_EQ(Engine(uri / "model.onnx").model().name, "colours") << uri;
  }
  EXPECT_EQ(Engine(folder).model().name, "colours") << "in a path a percent sign is a letter";
  EXPECT_EQ(message_of("file:///does/not%20exist"), "there is no model /does/not exist");
  EXPECT_EQ(message_of("file://"), "there is no model ");
}

TEST(Engine, ClassifiesBytesMatsAndBatches) {
  const Engine engine(tests::bundle("colours"));
  const Classified answer = engine.classify(solid(20, 30, kRed), 2);
  ASSERT_EQ(answer.predictions.size(), 2U);
  EXPECT_EQ(answer.predictions[0].class_name, "red");
  EXPECT_GT(answer.predictions[0].confidence, 0.99F);
  EXPECT_EQ(answer.predictions[1].class_id, 1);  // equal to blue: the lower id first
  EXPECT_EQ(answer.size.height, 20);
  EXPECT_EQ(answer.size.width, 30);

  const cv::Mat green(5, 5, CV_8UC3, kGreen);
  EXPECT_EQ(engine.classify(green).predictions[0].class_name, "green");
  const cv::Mat blue(5, 5, CV_8UC3, kBlue);
  EXPECT_EQ(engine.classify(blue).predictions[0].class_name, "blue");
  EXPECT_EQ(engine.classify(blue, ChannelOrder::rgb).predictions[0].class_name, "red");
  EXPECT_EQ(engine.classify(cv::Mat(5, 5, CV_8UC4, cv::Scalar(0, 0, 255, 0))).predictions[0].class_name, "red");
  EXPECT_NEAR(engine.classify(cv::Mat(5, 5, CV_8UC1, cv::Scalar(9))).predictions[0].confidence, 1.0F / 3, 1e-6F);
  EXPECT_THROW(static_cast<void>(engine.classify(cv::Mat(5, 5, CV_32FC3))), BadInput);
  EXPECT_THROW(static_cast<void>(engine.classify(cv::Mat())), BadInput);

  const auto results = engine.classify_batch(std::vector<cv::Mat>{green, blue});
  EXPECT_EQ(results[0].predictions[0].class_name, "green");
  EXPECT_EQ(results[1].predictions[0].class_name, "blue");
}

TEST(Engine, ABatchIsOneRunAndABadImageShiftsNoOther) {
  Engine engine(tests::bundle("colours"));
  const std::string red = solid(8, 8, kRed);
  const std::string blue = solid(50, 40, kBlue, ".jpg");
  const std::string bad = "no image";
  const auto results = engine.classify_batch(std::vector<ByteView>{red, bad, blue, ByteView()}, 1);
  EXPECT_EQ(engine.latency(Stage::run).summary().count, 1U);
  EXPECT_EQ(engine.latency(Stage::decode).summary().count, 4U);
  ASSERT_EQ(results.size(), 4U);
  EXPECT_EQ(results[0].predictions[0].class_name, "red");
  EXPECT_EQ(results[1].error, "not a JPEG, PNG, BMP or WebP image");
  EXPECT_TRUE(results[1].predictions.empty());
  EXPECT_EQ(results[2].predictions[0].class_name, "blue");
  EXPECT_EQ(results[3].error, "the image is empty");
  engine.reset_latency();
  EXPECT_EQ(engine.latency(Stage::run).summary().count, 0U);
  EXPECT_TRUE(engine.classify_batch(std::vector<ByteView>()).empty());
}

TEST(Engine, ABatchAnswersAsItsImagesDoAlone) {
  const Engine engine(tests::bundle("network"));
  std::vector<std::string> contents;
  for (const auto& image : tests::golden_images()) {
    if (image.error.empty() && contents.size() < 40) {
      contents.push_back(tests::read(tests::golden_folder() / "images" / image.file));
    }
  }
  const auto together = engine.classify_batch(std::vector<ByteView>(contents.begin(), contents.end()), 100);
  for (std::size_t i = 0; i < contents.size(); ++i) {
    const Classified alone = engine.classify(contents[i], 100);
    ASSERT_EQ(alone.predictions.size(), engine.classes());
    EXPECT_EQ(together[i].predictions[0].class_id, alone.predictions[0].class_id);
    EXPECT_NEAR(together[i].predictions[0].confidence, alone.predictions[0].confidence, 1e-5F);
  }
}

TEST(Engine, TopKBelowOneIsRefused) {
  const Engine engine(tests::bundle("colours"));
  EXPECT_THROW(static_cast<void>(engine.classify(solid(8, 8, kRed), 0)), BadInput);
}

TEST(Engine, MovesAndDoesNotCopy) {
  static_assert(!std::is_copy_constructible_v<Engine>);
  static_assert(std::is_nothrow_move_constructible_v<Engine>);
  Engine first(tests::bundle("colours"));
  const Classified before = first.classify(solid(8, 8, kRed));
  Engine second(std::move(first));
  EXPECT_EQ(before.predictions[0].class_name, "red");  // still valid
  EXPECT_EQ(second.classify(solid(8, 8, kGreen)).predictions[0].class_name, "green");
}

TEST(Engine, ThreadsShareIt) {
  const Engine engine(tests::bundle("colours"));
  const std::vector<std::string> images = {solid(8, 8, kRed), solid(30, 20, kGreen, ".jpg"),
                                           solid(16, 16, kBlue, ".webp")};
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i < 200; ++i) {
        const std::size_t which = (t + i) % images.size();
        const auto answers = engine.classify_batch(std::vector<ByteView>(1 + i % 3, images[which]), 1);
        for (const auto& answer : answers) {
          if (answer.predictions[0].class_id != static_cast<int>(which)) ++wrong;
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong.load(), 0);
}

// Of the engine's own: what ONNX Runtime allocates in a run is measured by itself and taken off.
TEST(Engine, AllocatesNothingOfItsOwnInTheSteadyState) {
  if (!tests::counts_allocations()) GTEST_SKIP() << "a sanitizer's new counts nothing";
  const Engine engine(tests::bundle("network"));
  const std::size_t batch = 4;
  std::vector<std::uint8_t> input(batch * engine.input_bytes());
  std::vector<float> probabilities(batch * engine.classes());
  const auto allocations_of = [](auto&& work) {
    for (int i = 0; i < 5; ++i) work();
    const std::size_t before = tests::allocations();
    for (int i = 0; i < 10; ++i) work();
    return tests::allocations() - before;
  };
  const std::size_t of_runs = allocations_of([&] { engine.infer(input.data(), batch, probabilities.data()); });
  const std::vector<cv::Mat> images(batch, cv::Mat(engine.model().height, engine.model().width, CV_8UC3, kRed));
  std::vector<Classified> results;
  const std::size_t of_batches = allocations_of(
      [&] { engine.classify_batch(images.data(), images.size(), ChannelOrder::bgr, kDefaultTopK, results); });
  EXPECT_EQ(of_batches, of_runs);
  Classified result;
  const std::size_t of_single_runs = allocations_of([&] { engine.infer(input.data(), 1, probabilities.data()); });
  const std::size_t of_singles =
      allocations_of([&] { engine.classify(images[0], ChannelOrder::bgr, kDefaultTopK, result); });
  EXPECT_EQ(of_singles, of_single_runs);
}

TEST(Engine, CudaThatIsNotThereFallsBackWithAMessage) {
  EngineOptions options;
  options.provider = Provider::cuda;
  const Engine engine(tests::bundle("colours"), options);
  EXPECT_EQ(engine.classify(solid(8, 8, kRed)).predictions[0].class_name, "red");
  if (engine.provider() == "cpu") {
    EXPECT_NE(engine.provider_message().find("CUDA"), std::string::npos);
  } else {
    EXPECT_EQ(engine.provider_message(), "");
  }
}

TEST(Engine, EveryOptionGivesTheSameAnswer) {
  const std::string image = solid(9, 9, kGreen);
  const float expected = Engine(tests::bundle("network")).classify(image).predictions[0].confidence;
  for (const GraphLevel level : {GraphLevel::none, GraphLevel::basic, GraphLevel::extended, GraphLevel::all}) {
    for (const bool arena : {false, true}) {
      EngineOptions options;
      options.graph_level = level;
      options.arena = arena;
      options.threads = 2;
      EXPECT_NEAR(Engine(tests::bundle("network"), options).classify(image).predictions[0].confidence, expected, 1e-5F)
          << options.to_string();
    }
  }
}

TEST(Engine, WhatIsNoModelIsRefusedLoudly) {
  EXPECT_THROW(Engine("/does/not/exist"), NotFound);
  EXPECT_THROW(Engine(scratch("empty")), NotFound);
  EngineOptions options;
  options.variant = "int9";
  EXPECT_THROW(Engine(tests::bundle("colours"), options), NotFound);
  EXPECT_EQ(message_of(tests::bundle("colours"), options), "the bundle has no variant 'int9' (it has: fp32)");

  const fs::path folder = scratch("bad");
  write(folder / "text.onnx", "this is no graph");
  EXPECT_THROW(Engine(folder / "text.onnx"), BrokenModel);
  write(folder / "empty.onnx", "");
  EXPECT_THROW(Engine(folder / "empty.onnx"), BrokenModel);
  const std::string model = tests::read(tests::bundle("colours") / "model.onnx");
  for (std::size_t length = 1; length < model.size(); length += 97) {
    write(folder / "cut.onnx", model.substr(0, length));
    EXPECT_THROW(Engine(folder / "cut.onnx"), BrokenModel) << length;
  }
  EXPECT_NE(message_of(tests::golden_folder() / "models" / "no_manifest.onnx").find("carries no Manta manifest"),
            std::string::npos);
  EXPECT_NE(message_of(tests::golden_folder() / "models" / "changed_manifest.onnx").find("checksum differs"),
            std::string::npos);
  EXPECT_NE(message_of(tests::golden_folder() / "models" / "other_size.onnx").find("the manifest says [-1, 9, 9, 3]"),
            std::string::npos);
  EXPECT_NE(message_of(tests::golden_folder() / "models" / "other_rule.onnx").find("resize rule"), std::string::npos);
}

TEST(Engine, AChangedBundleIsRefused) {
  const fs::path folder = scratch("bundle");
  const std::string manifest = tests::read(tests::bundle("colours") / "manifest.json");
  const std::string model = tests::read(tests::bundle("colours") / "model.onnx");
  const auto load_with = [&](const std::string& manifest_text, const std::string& model_bytes) {
    write(folder / "manifest.json", manifest_text);
    write(folder / "model.onnx", model_bytes);
    return Engine(folder);
  };
  EXPECT_NO_THROW(load_with(manifest, model));
  EXPECT_THROW(load_with(manifest, model + " "), BrokenModel);
  for (std::size_t i = 0; i < manifest.size(); i += 7) {
    std::string changed = manifest;
    changed[i] = changed[i] == 'x' ? 'y' : 'x';
    EXPECT_THROW(load_with(changed, model), BrokenModel) << i;
    EXPECT_THROW(load_with(manifest.substr(0, i), model), BrokenModel) << i;
  }
}

}  // namespace
}  // namespace manta
