#include "manta/options.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "manta/errors.hpp"
#include "options.hpp"

namespace manta {
namespace {

server::ServerOptions parse(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "manta-engine-server");
  std::vector<char*> pointers(arguments.size() + 1, nullptr);
  std::transform(arguments.begin(), arguments.end(), pointers.begin(), [](std::string& text) { return text.data(); });
  return server::parse(static_cast<int>(arguments.size()), pointers.data());
}

TEST(Options, TheDefaultsAreValidAndSayWhatTheyAre) {
  EXPECT_NO_THROW(EngineOptions().validate());
  EXPECT_EQ(EngineOptions().to_string(),
            "variant=fp32 threads=1 provider=cpu graph_level=all arena=on max_pixels=64000000");
}

TEST(Options, EachIsChecked) {
  EngineOptions options;
  options.threads = 0;
  EXPECT_THROW(options.validate(), BadInput);
  options = {};
  options.max_pixels = 0;
  EXPECT_THROW(options.validate(), BadInput);
  options = {};
  options.variant = "";
  EXPECT_THROW(options.validate(), BadInput);
  options = {};
  options.cuda_device = -1;
  EXPECT_THROW(options.validate(), BadInput);
}

TEST(Options, TheServersCommandLine) {
  const auto options = parse({"--model", "bundle", "-p", "0", "--max-batch=4", "--queue-seconds", "0.5"});
  EXPECT_EQ(options.model, "bundle");
  EXPECT_EQ(options.port, 0);
  EXPECT_EQ(options.max_batch, 4U);
  EXPECT_EQ(options.queue_seconds, 0.5);
  EXPECT_TRUE(parse({"--help"}).help);
}

TEST(Options, WhatIsWrongIsRefused) {
  const std::vector<std::vector<std::string>> wrong = {
      {},
      {"--model"},
      {"--model", "m", "--port", "70000"},
      {"--model", "m", "--port", "80x"},
      {"--model", "m", "--max-batch", "0"},
      {"--model", "m", "--queue-seconds", "nan"},
      {"--model", "m", "--queue-seconds", "-1"},
      {"--model", "m", "--unknown"},
      {"--model", "m", "stray"},
      {"--model", "m", "--max-images", "2000"},
      {"--model", "m", "--max-body-bytes-in-all", "1000"},
      {"--model", "m", "--max-pixels-in-all", "1000"},
  };
  for (const auto& arguments : wrong) EXPECT_THROW(parse(arguments), BadInput) << ::testing::PrintToString(arguments);
}

}  // namespace
}  // namespace manta
