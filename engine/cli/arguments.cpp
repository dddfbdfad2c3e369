#include "arguments.hpp"

#include <array>
#include <limits>
#include <string_view>

#include "manta/errors.hpp"
#include "program/arguments.hpp"

namespace manta::cli {
namespace {

using Option = program::Option<Arguments>;

// In one run: 100,000 at 32x32 take 300 MB.
constexpr int kMostImages = 100'000;

int positive(std::string_view option, std::string_view text) {
  return program::small_count(option, text, std::numeric_limits<int>::max());
}

// In the order of the help.
const std::array<Option, 16> kOptions = {{
    {{"model", 'm', true}, [](auto& arguments, auto value) { arguments.model = std::string(value); }},
    {{"image", 'i', true}, [](auto& arguments, auto value) { arguments.images.emplace_back(std::string(value)); }},
    {{"directory", 'd', true},
     [](auto& arguments, auto value) { arguments.directories.emplace_back(std::string(value)); }},
    {{"benchmark", 'b', false}, [](auto& arguments, auto) { arguments.benchmark = true; }},
    {{"iterations", 0, true},
     [](auto& arguments, auto value) { arguments.iterations = positive("--iterations", value); }},
    {{"batch", 0, true},
     [](auto& arguments, auto value) { arguments.batch = program::small_count("--batch", value, kMostImages); }},
    {{"workers", 0, true},
     [](auto& arguments, auto value) { arguments.workers = program::small_count("--workers", value); }},
    {{"no-decode", 0, false}, [](auto& arguments, auto) { arguments.decode = false; }},
    {{"gpu", 'g', false}, [](auto& arguments, auto) { arguments.engine.provider = Provider::cuda; }},
    {{"threads", 0, true},
     [](auto& arguments, auto value) { arguments.engine.threads = program::small_count("--threads", value); }},
    {{"variant", 0, true}, [](auto& arguments, auto value) { arguments.engine.variant = value; }},
    {{"top-k", 0, true}, [](auto& arguments, auto value) { arguments.top_k = positive("--top-k", value); }},
    {{"json", 0, false}, [](auto& arguments, auto) { arguments.json = true; }},
    {{"info", 0, false}, [](auto& arguments, auto) { arguments.info = true; }},
    {{"version", 0, false}, [](auto& arguments, auto) { arguments.version = true; }},
    {{"help", 'h', false}, [](auto& arguments, auto) { arguments.help = true; }},
}};

void check(const Arguments& arguments) {
  if (arguments.help || arguments.version) return;
  if (arguments.model.empty()) throw BadInput("--model is missing (see --help)");
  const bool has_images = !arguments.images.empty() || !arguments.directories.empty();
  if (!has_images && !arguments.benchmark && !arguments.info) {
    throw BadInput("nothing to do: give --image, --directory, --benchmark or --info (see --help)");
  }
}

}  // namespace

Arguments parse(int argc, char** argv) {
  Arguments arguments = program::read_options(argc, argv, kOptions);
  check(arguments);
  return arguments;
}

std::string usage() {
  return R"(Classifies images with a model that Manta trained.

  manta-engine --model bundle/ --image cat.jpg
  manta-engine --model bundle/ --directory photos/ --json > answers.json
  manta-engine --model bundle/ --benchmark --batch 32 --image cat.jpg

  -m, --model PATH       a bundle's folder, or one .onnx file of it; also as a file:// URI
  -i, --image FILE       a JPEG, PNG, BMP or WebP image; may be given more than once
  -d, --directory DIR    all images in it and below; may be given more than once
  -b, --benchmark        measure, with the images given or else one of noise at the input size
      --iterations N     runs to measure (200)
      --batch N          images in each run (1)
      --workers N        callers at once (1)
      --no-decode        decode before the measurement, not within
  -g, --gpu              run on CUDA; on the CPU, with a message, where there is none
      --threads N        threads inside a run (1)
      --variant NAME     which graph of the bundle: fp32, int8, fp16 (fp32)
      --top-k N          how many classes to name; more than there are means all (5)
      --json             one JSON object on stdout, and nothing else
      --info             what the model is
      --version
  -h, --help

Files that cannot be read are reported, counted and passed over.
Exit codes: 0 done; 1 other errors; 2 bad arguments, or no image could be read; 3 a file that does not exist;
4 not a model of Manta, or a damaged one.
)";
}

}  // namespace manta::cli
