#include "options.hpp"

#include <sched.h>

#include <array>
#include <limits>
#include <string_view>

#include "manta/errors.hpp"
#include "program/arguments.hpp"
#include "program/text.hpp"

namespace manta::server {
namespace {

using Option = program::Option<ServerOptions>;

std::size_t count(std::string_view option, std::string_view text) {
  constexpr std::int64_t kMost = std::int64_t{1} << 40U;
  return static_cast<std::size_t>(program::whole_number(option, text, 1, kMost));
}

std::uint16_t port_number(std::string_view text) {
  constexpr std::int64_t kMost = std::numeric_limits<std::uint16_t>::max();
  return static_cast<std::uint16_t>(program::whole_number("--port", text, 0, kMost));
}

// In the order of the help.
const std::array<Option, 22> kOptions = {{
    {{"model", 'm', true}, [](auto& options, auto value) { options.model = std::string(value); }},
    {{"port", 'p', true}, [](auto& options, auto value) { options.port = port_number(value); }},
    {{"host", 0, true}, [](auto& options, auto value) { options.host = value; }},
    {{"model-version", 0, true}, [](auto& options, auto value) { options.model_version = program::printable(value); }},
    {{"variant", 0, true}, [](auto& options, auto value) { options.engine.variant = value; }},
    {{"gpu", 'g', false}, [](auto& options, auto) { options.engine.provider = Provider::cuda; }},
    {{"threads", 0, true},
     [](auto& options, auto value) { options.engine.threads = program::small_count("--threads", value); }},
    {{"loops", 0, true}, [](auto& options, auto value) { options.loops = program::small_count("--loops", value); }},
    {{"max-batch", 0, true},
     [](auto& options, auto value) {
       options.max_batch = static_cast<std::size_t>(program::small_count("--max-batch", value));
     }},
    {{"max-queued-images", 0, true},
     [](auto& options, auto value) { options.max_queued_images = count("--max-queued-images", value); }},
    {{"max-images", 0, true}, [](auto& options, auto value) { options.max_images = count("--max-images", value); }},
    {{"max-body-bytes", 0, true},
     [](auto& options, auto value) { options.max_body_bytes = count("--max-body-bytes", value); }},
    {{"max-body-bytes-in-all", 0, true},
     [](auto& options, auto value) { options.max_body_bytes_in_all = count("--max-body-bytes-in-all", value); }},
    {{"max-pixels", 0, true},
     [](auto& options, auto value) {
       options.engine.max_pixels = static_cast<std::int64_t>(count("--max-pixels", value));
     }},
    {{"max-pixels-in-all", 0, true},
     [](auto& options, auto value) {
       options.max_pixels_in_all = static_cast<std::int64_t>(count("--max-pixels-in-all", value));
     }},
    {{"max-connections", 0, true},
     [](auto& options, auto value) { options.max_connections = count("--max-connections", value); }},
    {{"decode-threads", 0, true},
     [](auto& options, auto value) { options.decode_threads = program::small_count("--decode-threads", value); }},
    {{"queue-seconds", 0, true},
     [](auto& options, auto value) { options.queue_seconds = program::seconds("--queue-seconds", value); }},
    {{"read-seconds", 0, true},
     [](auto& options, auto value) { options.read_seconds = program::seconds("--read-seconds", value); }},
    {{"drain-seconds", 0, true},
     [](auto& options, auto value) { options.drain_seconds = program::seconds("--drain-seconds", value); }},
    {{"version", 0, false}, [](auto& options, auto) { options.version = true; }},
    {{"help", 'h', false}, [](auto& options, auto) { options.help = true; }},
}};

}  // namespace

void ServerOptions::validate() const {
  engine.validate();
  if (model.empty()) throw BadInput("--model is missing (see --help)");
  if (loops < 0 || decode_threads < 1 || max_batch < 1 || max_images < 1 || max_connections < 1) {
    throw BadInput("numbers of loops, threads, images and connections must be 1 or more");
  }
  if (max_images > max_queued_images) {
    throw BadInput("--max-images is above --max-queued-images: such a request could never be taken");
  }
  if (engine.max_pixels > max_pixels_in_all) {
    throw BadInput("--max-pixels is above --max-pixels-in-all: such an image could never be taken");
  }
  if (max_body_bytes > max_body_bytes_in_all) {
    throw BadInput("--max-body-bytes is above --max-body-bytes-in-all: such a body could never be taken");
  }
}

ServerOptions parse(int argc, char** argv) {
  ServerOptions options = program::read_options(argc, argv, kOptions);
  if (!options.help && !options.version) options.validate();
  return options;
}

std::string usage() {
  return R"(Serves a model that Manta trained, over HTTP.

  manta-engine-server --model bundle/ --port 8080
  curl -s http://127.0.0.1:8080/predict -H 'Content-Type: image/jpeg' --data-binary @cat.jpg

  -m, --model PATH               a bundle's folder, or one .onnx file of it; also as a file:// URI
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
      --max-body-bytes-in-all N  of all requests at once, with what is read out of their bodies; then 503 (256 MiB)
      --max-pixels N             of an image, width times height (64,000,000)
      --max-pixels-in-all N      that wait for a decoding thread, or are in one; then requests get 503 (512,000,000)
      --max-connections N        at this number idle ones make room (4096)
      --decode-threads N         threads for images too large for an event loop (2)
      --queue-seconds S          until an image is decoded by such a thread, and again until it is run; then 504 (10)
      --read-seconds S           how long a request's header may take, and how long a client may keep silent within
                                 its body, which must come at 8 KiB a second (15)
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
