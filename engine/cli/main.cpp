// manta-engine: classifies files and folders, and measures.
#include "program/main.hpp"

#include <algorithm>
#include <chrono>
#include <iostream>
#include <opencv2/core.hpp>

#include "arguments.hpp"
#include "benchmark.hpp"
#include "image_files.hpp"
#include "manta/engine.hpp"
#include "report.hpp"

namespace manta::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kFilesAtOnce = 32;
constexpr int kBadInput = 2;

// Counted, and told at once.
void add_failure(const fs::path& path, const std::string& why, Answers& answers) {
  std::cerr << path.string() << ": " << why << '\n';
  answers.files.push_back({path.string(), {}});
  answers.files.back().classified.error = why;
  ++answers.failed;
}

// All paths that were asked for; a folder that cannot be entered becomes an answer with an error.
std::vector<fs::path> files_of(const Arguments& arguments, Answers& answers) {
  FoundFiles found;
  found.images = arguments.images;
  for (const auto& directory : arguments.directories) find_images(directory, found);
  for (const auto& folder : found.unreadable) add_failure(folder.path, folder.why, answers);
  return std::move(found.images);
}

void classify_some(const Engine& engine, const std::vector<fs::path>& paths, std::size_t first, std::size_t count,
                   int top_k, Answers& answers) {
  std::vector<std::string> contents(count);
  std::vector<std::string> problems(count);
  for (std::size_t i = 0; i < count; ++i) {
    try {
      contents[i] = read_bytes(paths[first + i]);
    } catch (const NotFound& error) {
      problems[i] = error.what();
    }
  }
  auto results = engine.classify_batch(std::vector<ByteView>(contents.begin(), contents.end()), top_k);
  for (std::size_t i = 0; i < count; ++i) {
    const std::string& problem = problems[i].empty() ? results[i].error : problems[i];
    if (problem.empty()) {
      answers.files.push_back({paths[first + i].string(), std::move(results[i])});
    } else {
      add_failure(paths[first + i], problem, answers);
    }
  }
}

int classify_files(const Engine& engine, const Arguments& arguments) {
  const auto started = std::chrono::steady_clock::now();
  Answers answers;
  const auto paths = files_of(arguments, answers);
  for (std::size_t first = 0; first < paths.size(); first += kFilesAtOnce) {
    classify_some(engine, paths, first, std::min(kFilesAtOnce, paths.size() - first), arguments.top_k, answers);
  }
  answers.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  print_answers(engine, answers, arguments.json);
  if (answers.files.empty()) std::cerr << "no images were found\n";
  return answers.failed == answers.files.size() ? kBadInput : 0;
}

// Those that can be decoded; the others are told.
std::vector<std::string> readable_contents(const Engine& engine, const std::vector<fs::path>& paths, Answers& answers) {
  std::vector<std::string> contents;
  for (const auto& path : paths) {
    try {
      std::string bytes = read_bytes(path);
      static_cast<void>(decode(bytes, engine.options().max_pixels));
      contents.push_back(std::move(bytes));
    } catch (const Error& error) {
      add_failure(path, error.what(), answers);
    }
  }
  return contents;
}

int benchmark_files(Engine& engine, const Arguments& arguments) {
  Answers failures;
  const auto contents = readable_contents(engine, files_of(arguments, failures), failures);
  const bool asked_for_files = !arguments.images.empty() || !arguments.directories.empty();
  if (contents.empty() && asked_for_files) {
    std::cerr << "error: none of the images can be read\n";
    return kBadInput;
  }
  print_benchmark(engine, arguments, run_benchmark(engine, arguments, contents));
  return 0;
}

int classify(const Arguments& arguments) {
  if (program::tells_of_itself("manta-engine", arguments.help, arguments.version, usage())) return 0;
  cv::setNumThreads(arguments.engine.threads);
  Engine engine(arguments.model, arguments.engine);
  if (!engine.provider_message().empty()) std::cerr << engine.provider_message() << '\n';
  if (arguments.info) {
    print_info(engine, arguments.json);
    return 0;
  }
  return arguments.benchmark ? benchmark_files(engine, arguments) : classify_files(engine, arguments);
}

}  // namespace
}  // namespace manta::cli

int main(int argc, char** argv) {
  return manta::program::run([&] { return manta::cli::classify(manta::cli::parse(argc, argv)); });
}
