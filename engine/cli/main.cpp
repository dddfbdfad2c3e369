// manta-engine: classifies files and folders, and measures.
#include <algorithm>
#include <chrono>
#include <exception>
#include <iostream>
#include <opencv2/core.hpp>
#include <opencv2/core/utils/logger.hpp>

#include "arguments.hpp"
#include "benchmark.hpp"
#include "image_files.hpp"
#include "manta/engine.hpp"
#include "manta/version.hpp"
#include "report.hpp"

namespace manta::cli {
namespace {

constexpr std::size_t kFilesAtOnce = 32;
constexpr int kBadInput = 2;

// All paths that were asked for; what cannot be entered becomes an answer with an error.
std::vector<std::filesystem::path> files_of(const Arguments& arguments, Answers& answers) {
  FoundFiles found;
  found.images = arguments.images;
  for (const auto& directory : arguments.directories) find_images(directory, found);
  for (const auto& problem : found.problems) {
    answers.files.push_back({problem, {}});
    answers.files.back().classified.error = "cannot be read";
    ++answers.failed;
    std::cerr << problem << '\n';
  }
  return std::move(found.images);
}

void classify_some(const Engine& engine, const std::vector<std::filesystem::path>& paths, std::size_t first,
                   std::size_t count, int top_k, Answers& answers) {
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
    if (!problems[i].empty()) results[i].error = problems[i];
    const std::string file = paths[first + i].string();
    if (!results[i].error.empty()) {
      ++answers.failed;
      std::cerr << file << ": " << results[i].error << '\n';
    }
    answers.files.push_back({file, std::move(results[i])});
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

int benchmark_files(Engine& engine, const Arguments& arguments) {
  Answers unused;
  std::vector<std::string> contents;
  for (const auto& path : files_of(arguments, unused)) contents.push_back(read_bytes(path));
  print_benchmark(engine, arguments, run_benchmark(engine, arguments, contents));
  return 0;
}

int run(const Arguments& arguments) {
  if (arguments.help) {
    std::cout << usage();
    return 0;
  }
  if (arguments.version) {
    std::cout << "manta-engine " << kVersion << '\n';
    return 0;
  }
  cv::setNumThreads(arguments.engine.threads);
  // OpenCV logs every bad image on stderr; the error says it already.
  cv::utils::logging::setLogLevel(cv::utils::logging::LOG_LEVEL_SILENT);
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
  try {
    return manta::cli::run(manta::cli::parse(argc, argv));
  } catch (const manta::Error& error) {
    std::cerr << "error: " << error.what() << '\n';
    return error.exit_code();
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << '\n';
    return 1;
  }
}
