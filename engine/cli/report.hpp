// What `manta-engine` prints: lines for people, or one JSON object.
#pragma once

#include <string>
#include <vector>

#include "benchmark.hpp"
#include "manta/engine.hpp"

namespace manta::cli {

struct FileAnswer {
  std::string file;
  Classified classified;
};

struct Answers {
  std::vector<FileAnswer> files;
  // Files and folders that could not be read at all are entries with an error too.
  std::size_t failed = 0;
  double seconds = 0;
};

void print_info(const Engine& engine, bool json);
void print_answers(const Engine& engine, const Answers& answers, bool json);
void print_benchmark(const Engine& engine, const Arguments& arguments, const BenchmarkResult& result);

}  // namespace manta::cli
