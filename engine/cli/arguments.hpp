// The command line of `manta-engine`.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "manta/options.hpp"

namespace manta::cli {

struct Arguments {
  std::filesystem::path model;
  std::vector<std::filesystem::path> images;
  std::vector<std::filesystem::path> directories;
  EngineOptions engine;
  int top_k = 5;
  bool json = false;
  bool info = false;
  bool help = false;
  bool version = false;

  bool benchmark = false;
  int iterations = 200;
  int batch = 1;
  // Callers at once, each with `engine.threads` threads inside a run.
  int workers = 1;
  // Whether the benchmark decodes each image anew.
  bool decode = true;
};

// Throws BadInput, with one line that says what is wrong.
[[nodiscard]] Arguments parse(int argc, char** argv);

[[nodiscard]] std::string usage();

}  // namespace manta::cli
