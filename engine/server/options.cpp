#include "options.hpp"

#include <getopt.h>
#include <sched.h>

#include <array>
#include <charconv>
#include <limits>
#include <string_view>
#include <vector>

#include "manta/errors.hpp"

namespace manta::server {
namespace {

enum LongOption : int {
  kHost = 256,
  kModelVersion,
  kVariant,
  kThreads,
  kLoops,
  kMaxBatch,
  kMaxQueued,
  kMaxImages,
  kMaxBody,
  kMaxBodies,
  kMaxPixels,
  kMaxConnections,
  kDecodeThreads,
  kQueueSeconds,
  kReadSeconds,
  kDrainSeconds,
  kVersion
};

std::int64_t whole_number(std::string_view option, std::string_view text, std::int64_t least, std::int64_t most) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < least || value > most) {
    throw BadInput(std::string(option) + " must be a whole number from " + std::to_string(least) + " to " +
                   std::to_string(most) + ", not '" + std::string(text) + "'");
  }
  return value;
}

std::size_t count(std::string_view option, std::string_view text) {
  return static_cast<std::size_t>(whole_number(option, text, 1, std::int64_t{1} << 40U));
}

int small_count(std::string_view option, std::string_view text) {
  return static_cast<int>(whole_number(option, text, 1, 1024));
}

double seconds(std::string_view option, std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !(value > 0 && value <= 86400)) {
    throw BadInput(std::string(option) + " must be seconds above 0, not '" + std::string(text) + "'");
  }
  return value;
}

void set(ServerOptions& options, int option, std::string_view value) {
  switch (option) {
    case 'm':
      options.model = std::string(value);
      break;
    case 'p':
      options.port =
          static_cast<std::uint16_t>(whole_number("--port", value, 0, std::numeric_limits<std::uint16_t>::max()));
      break;
    case 'g':
      options.engine.provider = Provider::cuda;
      break;
    case 'h':
      options.help = true;
      break;
    case kVersion:
      options.version = true;
      break;
    case kHost:
      options.host = value;
      break;
    case kModelVersion:
      options.model_version = value;
      break;
    case kVariant:
      options.engine.variant = value;
      break;
    case kThreads:
      options.engine.threads = small_count("--threads", value);
      break;
    case kLoops:
      options.loops = small_count("--loops", value);
      break;
    case kMaxBatch:
      options.max_batch = count("--max-batch", value);
      break;
    case kMaxQueued:
      options.max_queued_images = count("--max-queued-images", value);
      break;
    case kMaxImages:
      options.max_images = count("--max-images", value);
      break;
    case kMaxBody:
      options.max_body_bytes = count("--max-body-bytes", value);
      break;
    case kMaxBodies:
      options.max_body_bytes_in_all = count("--max-body-bytes-in-all", value);
      break;
    case kMaxPixels:
      options.engine.max_pixels = static_cast<std::int64_t>(count("--max-pixels", value));
      break;
    case kMaxConnections:
      options.max_connections = count("--max-connections", value);
      break;
    case kDecodeThreads:
      options.decode_threads = small_count("--decode-threads", value);
      break;
    case kQueueSeconds:
      options.queue_seconds = seconds("--queue-seconds", value);
      break;
    case kReadSeconds:
      options.read_seconds = seconds("--read-seconds", value);
      break;
    case kDrainSeconds:
      options.drain_seconds = seconds("--drain-seconds", value);
      break;
    default:
      throw BadInput("unknown option (see --help)");
  }
}

}  // namespace

void ServerOptions::validate() const {
  engine.validate();
  if (model.empty()) throw BadInput("--model is missing (see --help)");
  if (max_images > max_queued_images) {
    throw BadInput("--max-images is above --max-queued-images: such a request could never be taken");
  }
  if (max_body_bytes > max_body_bytes_in_all) {
    throw BadInput("--max-body-bytes is above --max-body-bytes-in-all: such a body could never be taken");
  }
}

ServerOptions parse(int argc, char** argv) {
  static const std::array<option, 22> kOptions = {{
      {"model", required_argument, nullptr, 'm'},
      {"port", required_argument, nullptr, 'p'},
      {"gpu", no_argument, nullptr, 'g'},
      {"help", no_argument, nullptr, 'h'},
      {"version", no_argument, nullptr, kVersion},
      {"host", required_argument, nullptr, kHost},
      {"model-version", required_argument, nullptr, kModelVersion},
      {"variant", required_argument, nullptr, kVariant},
      {"threads", required_argument, nullptr, kThreads},
      {"loops", required_argument, nullptr, kLoops},
      {"max-batch", required_argument, nullptr, kMaxBatch},
      {"max-queued-images", required_argument, nullptr, kMaxQueued},
      {"max-images", required_argument, nullptr, kMaxImages},
      {"max-body-bytes", required_argument, nullptr, kMaxBody},
      {"max-body-bytes-in-all", required_argument, nullptr, kMaxBodies},
      {"max-pixels", required_argument, nullptr, kMaxPixels},
      {"max-connections", required_argument, nullptr, kMaxConnections},
      {"decode-threads", required_argument, nullptr, kDecodeThreads},
      {"queue-seconds", required_argument, nullptr, kQueueSeconds},
      {"read-seconds", required_argument, nullptr, kReadSeconds},
      {"drain-seconds", required_argument, nullptr, kDrainSeconds},
      {nullptr, 0, nullptr, 0},
  }};
  ServerOptions options;
  opterr = 0;  // the message is ours
  optind = 1;
  int option = 0;
  while ((option = getopt_long(argc, argv, ":m:p:gh", kOptions.data(), nullptr)) != -1) {
    if (option == ':') throw BadInput(std::string(argv[optind - 1]) + " needs a value (see --help)");
    if (option == '?') throw BadInput("there is no option " + std::string(argv[optind - 1]) + " (see --help)");
    set(options, option, optarg == nullptr ? "" : optarg);
  }
  if (optind < argc) throw BadInput("unexpected argument '" + std::string(argv[optind]) + "' (see --help)");
  if (!options.help && !options.version) options.validate();
  return options;
}

std::string usage() {
  return R"(Serves a model that Manta trained, over HTTP.

  manta-engine-server --model bundle/ --port 8080
  curl -s http://127.0.0.1:8080/predict -H 'Content-Type: image/jpeg' --data-binary @cat.jpg

  -m, --model PATH               a bundle's folder, or one .onnx file of it
  -p, --port N                   0 takes a free one (8080)
      --host ADDRESS             (127.0.0.1)
      --model-version TEXT       what answers say as model_version (digits of the graph's sha256)
      --variant NAME             which graph of the bundle: fp32, int8, fp16 (fp32)
  -g, --gpu                      run on CUDA; on the CPU, with a message, where there is none
      --threads N                threads inside a run (1)
      --loops N                  event loops (one for each core; one with CUDA, which makes larger batches)
      --max-batch N              images in a run (8)
      --max-queued-images N      images that may wait; then requests get 503 (1024)
      --max-images N             images in a request (256)
      --max-body-bytes N         (32 MiB)
      --max-body-bytes-in-all N  (256 MiB)
      --max-pixels N             of an image, width times height (64,000,000)
      --max-connections N        (4096)
      --decode-threads N         threads for images too large for an event loop (2)
      --queue-seconds S          how long an image may wait for a run (10)
      --read-seconds S           how long a client may keep silent within a request (15)
      --drain-seconds S          after SIGTERM, how long accepted requests may take (30)
      --version
  -h, --help

Routes: POST /predict, /predict/batch; GET /health, /health/live, /health/ready, /model/info, /metrics; /v2/...
SIGTERM and SIGINT end it: what it has accepted is answered.
Exit codes: 0 ended by a signal; 1 other errors; 2 bad arguments; 3 a file that does not exist; 4 not a model of Manta;
6 the port is in use.
)";
}

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return CPU_COUNT(&set);
}

}  // namespace manta::server
