#include "arguments.hpp"

#include <getopt.h>

#include <array>
#include <charconv>
#include <limits>
#include <string_view>

#include "manta/errors.hpp"

namespace manta::cli {
namespace {

enum LongOption : int {
  kTopK = 256,
  kJson,
  kInfo,
  kVersion,
  kVariant,
  kThreads,
  kIterations,
  kBatch,
  kWorkers,
  kNoDecode
};

int positive(std::string_view option, std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1) {
    throw BadInput(std::string(option) + " must be a whole number of 1 or more, not '" + std::string(text) + "'");
  }
  return value;
}

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
  static const std::array<option, 17> kOptions = {{
      {"model", required_argument, nullptr, 'm'},
      {"image", required_argument, nullptr, 'i'},
      {"directory", required_argument, nullptr, 'd'},
      {"benchmark", no_argument, nullptr, 'b'},
      {"gpu", no_argument, nullptr, 'g'},
      {"help", no_argument, nullptr, 'h'},
      {"top-k", required_argument, nullptr, kTopK},
      {"json", no_argument, nullptr, kJson},
      {"info", no_argument, nullptr, kInfo},
      {"version", no_argument, nullptr, kVersion},
      {"variant", required_argument, nullptr, kVariant},
      {"threads", required_argument, nullptr, kThreads},
      {"iterations", required_argument, nullptr, kIterations},
      {"batch", required_argument, nullptr, kBatch},
      {"workers", required_argument, nullptr, kWorkers},
      {"no-decode", no_argument, nullptr, kNoDecode},
      {nullptr, 0, nullptr, 0},
  }};
  Arguments arguments;
  opterr = 0;  // the message is ours
  optind = 1;
  int option = 0;
  while ((option = getopt_long(argc, argv, ":m:i:d:bgh", kOptions.data(), nullptr)) != -1) {
    switch (option) {
      case 'm':
        arguments.model = optarg;
        break;
      case 'i':
        arguments.images.emplace_back(optarg);
        break;
      case 'd':
        arguments.directories.emplace_back(optarg);
        break;
      case 'b':
        arguments.benchmark = true;
        break;
      case 'g':
        arguments.engine.provider = Provider::cuda;
        break;
      case 'h':
        arguments.help = true;
        break;
      case kTopK:
        arguments.top_k = positive("--top-k", optarg);
        break;
      case kJson:
        arguments.json = true;
        break;
      case kInfo:
        arguments.info = true;
        break;
      case kVersion:
        arguments.version = true;
        break;
      case kVariant:
        arguments.engine.variant = optarg;
        break;
      case kThreads:
        arguments.engine.threads = positive("--threads", optarg);
        break;
      case kIterations:
        arguments.iterations = positive("--iterations", optarg);
        break;
      case kBatch:
        arguments.batch = positive("--batch", optarg);
        break;
      case kWorkers:
        arguments.workers = positive("--workers", optarg);
        break;
      case kNoDecode:
        arguments.decode = false;
        break;
      case ':':
        throw BadInput(std::string(argv[optind - 1]) + " needs a value (see --help)");
      default:
        throw BadInput("there is no option " + std::string(argv[optind - 1]) + " (see --help)");
    }
  }
  if (optind < argc) throw BadInput("unexpected argument '" + std::string(argv[optind]) + "' (see --help)");
  check(arguments);
  return arguments;
}

std::string usage() {
  return R"(Classifies images with a model that Manta trained.

  manta-engine --model bundle/ --image cat.jpg
  manta-engine --model bundle/ --directory photos/ --json > answers.json
  manta-engine --model bundle/ --benchmark --batch 32 --image cat.jpg

  -m, --model PATH       a bundle's folder, or one .onnx file of it
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
