// Settings of the server, and its command line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

#include "manta/options.hpp"

namespace manta::server {

inline constexpr std::size_t kMiB = std::size_t{1} << 20U;

struct ServerOptions {
  std::filesystem::path model;
  EngineOptions engine;
  std::string host = "127.0.0.1";
  // 0 takes a free one, which is printed.
  std::uint16_t port = 8080;
  // What answers say as `model_version`; the first 12 digits of the graph's sha256 unless given.
  std::string model_version;
  // Event loops, each with its own connections and batches; 0: one for each core, and one in all with CUDA.
  int loops = 0;
  // Images in one run of the graph. On a CPU an image costs as much in a batch of 8 as in one of 32, which takes four
  // times the memory.
  std::size_t max_batch = 8;
  // Images that may wait for a run, in all loops together; beyond that requests get 503.
  std::size_t max_queued_images = 1024;
  // Images in one request.
  std::size_t max_images = 256;
  // Bytes of one body; a larger one gets 413.
  std::size_t max_body_bytes = 32 * kMiB;
  // Of all bodies in memory at the same time, with what was read out of them: base64, compressed bodies, the model's
  // input; beyond that requests get 503.
  std::size_t max_body_bytes_in_all = 256 * kMiB;
  // At this number those that have been idle for longest make room for new ones.
  std::size_t max_connections = 4096;
  // Requests with more pixels than this are decoded in another thread.
  std::int64_t inline_pixels = 100'000;
  // Of all requests that are decoded there, or wait for it; beyond that requests get 503.
  std::int64_t max_pixels_in_all = 512'000'000;
  int decode_threads = 2;
  // Runs expected to take longer than this are made in another thread.
  double inline_run_seconds = 0.005;
  // How long a request may wait for being decoded in another thread, and then for a run.
  double queue_seconds = 10;
  // How long a request's header may take in all, and how long a client may keep silent within its body.
  double read_seconds = 15;
  // How long it may keep silent between two requests.
  double idle_seconds = 75;
  // After SIGTERM, how long what was accepted may take.
  double drain_seconds = 30;
  bool help = false;
  bool version = false;

  // Throws BadInput.
  void validate() const;
};

// Throws BadInput, with one line that says what is wrong.
[[nodiscard]] ServerOptions parse(int argc, char** argv);

[[nodiscard]] std::string usage();

// Cores that this process may use.
[[nodiscard]] int usable_cores();

}  // namespace manta::server
