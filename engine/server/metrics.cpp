#include "metrics.hpp"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string_view>

#include "manta/version.hpp"

namespace manta::server {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr std::array<std::string_view, kRoutes> kRouteNames = {
    "/predict", "/predict/batch", "/health", "/model/info", "/metrics", "/v2", "/v2/infer", "other"};
// Text and value of each, so that a bound reads as it was written.
struct Bound {
  const char* text;
  double seconds;
};
constexpr std::array<Bound, 14> kBounds = {{{"0.0001", 0.0001},
                                            {"0.00025", 0.00025},
                                            {"0.0005", 0.0005},
                                            {"0.001", 0.001},
                                            {"0.0025", 0.0025},
                                            {"0.005", 0.005},
                                            {"0.01", 0.01},
                                            {"0.025", 0.025},
                                            {"0.05", 0.05},
                                            {"0.1", 0.1},
                                            {"0.25", 0.25},
                                            {"0.5", 0.5},
                                            {"1", 1},
                                            {"5", 5}}};

std::string escaped(std::string_view value) {
  std::string text;
  for (const char letter : value) {
    if (letter == '\\' || letter == '"') text += '\\';
    if (letter == '\n') {
      text += "\\n";
    } else {
      text += letter;
    }
  }
  return text;
}

void describe(std::ostream& out, std::string_view name, std::string_view type, std::string_view help) {
  out << "# HELP " << name << ' ' << help << "\n# TYPE " << name << ' ' << type << '\n';
}

// `labels` without braces; may be empty.
void put_histogram(std::ostream& out, std::string_view name, const std::string& labels,
                   const LatencyHistogram& histogram) {
  const std::string first = labels.empty() ? "" : labels + ",";
  const std::string all = labels.empty() ? "" : "{" + labels + "}";
  const LatencySummary summary = histogram.summary();
  for (const Bound& bound : kBounds) {
    // What was added since the summary was taken must not make a bucket larger than the whole.
    out << name << "_bucket{" << first << "le=\"" << bound.text << "\"} "
        << std::min(histogram.count_at_most(bound.seconds), summary.count) << '\n';
  }
  out << name << "_bucket{" << first << "le=\"+Inf\"} " << summary.count << '\n'
      << name << "_sum" << all << ' ' << summary.sum << '\n'
      << name << "_count" << all << ' ' << summary.count << '\n';
}

std::size_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::size_t pages = 0;
  file >> pages >> pages;  // the second one
  return pages * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace

Metrics::Metrics() : started_(std::chrono::steady_clock::now()) {}

void Metrics::request(Route route, int status, std::chrono::steady_clock::duration duration) noexcept {
  const auto* found = std::find(kStatuses.begin(), kStatuses.end() - 1, status);
  requests_[static_cast<std::size_t>(route)][static_cast<std::size_t>(found - kStatuses.begin())].fetch_add(1,
                                                                                                            kRelaxed);
  seconds_.add(duration);
}

void Metrics::batch(const RanBatch& batch) {
  const auto* found = std::lower_bound(kBatchSizes.begin(), kBatchSizes.end(), batch.images);
  batch_sizes_[static_cast<std::size_t>(found - kBatchSizes.begin())].fetch_add(1, kRelaxed);
  images_.fetch_add(batch.images, kRelaxed);
  queue_.add(batch.longest_wait);
  batches.add(batch);
}

// Requests by route and status, and how long they took.
void Metrics::put_requests(std::ostream& out) const {
  describe(out, "manta_http_requests_total", "counter", "Requests by route and HTTP status.");
  for (std::size_t route = 0; route < kRoutes; ++route) {
    for (std::size_t i = 0; i < kStatuses.size(); ++i) {
      const auto count = requests_[route][i].load(kRelaxed);
      if (count == 0) continue;
      out << "manta_http_requests_total{route=\"" << kRouteNames[route] << "\",status=\""
          << (kStatuses[i] == 0 ? "other" : std::to_string(kStatuses[i])) << "\"} " << count << '\n';
    }
  }
  describe(out, "manta_request_seconds", "histogram", "From the read request to the answer.");
  put_histogram(out, "manta_request_seconds", "", seconds_);
}

void Metrics::put_stages(std::ostream& out, const Engine& engine) const {
  describe(out, "manta_stage_seconds", "histogram",
           "Decoding and preprocessing of an image; waiting, run and postprocessing of a batch.");
  put_histogram(out, "manta_stage_seconds", "stage=\"queue\"", queue_);
  for (const Stage stage : kStages) {
    put_histogram(out, "manta_stage_seconds", "stage=\"" + std::string(name(stage)) + "\"", engine.latency(stage));
  }
}

void Metrics::put_batches(std::ostream& out, const std::string& model) const {
  describe(out, "manta_images_total", "counter", "Images that were run.");
  out << "manta_images_total{" << model << "} " << images_.load(kRelaxed) << '\n';
  describe(out, "manta_batch_images", "histogram", "Images in a run.");
  std::uint64_t count = 0;
  for (std::size_t i = 0; i < kBatchSizes.size(); ++i) {
    count += batch_sizes_[i].load(kRelaxed);
    out << "manta_batch_images_bucket{le=\"" << kBatchSizes[i] << "\"} " << count << '\n';
  }
  count += batch_sizes_.back().load(kRelaxed);
  out << "manta_batch_images_bucket{le=\"+Inf\"} " << count << "\nmanta_batch_images_sum " << images_.load(kRelaxed)
      << "\nmanta_batch_images_count " << count << '\n';
}

void Metrics::put_gauges(std::ostream& out, std::size_t queued) const {
  const std::chrono::duration<double> uptime = std::chrono::steady_clock::now() - started_;
  describe(out, "manta_queued_images", "gauge", "Images that wait for a run.");
  out << "manta_queued_images " << queued << '\n';
  describe(out, "manta_connections", "gauge", "Open connections.");
  out << "manta_connections " << connections.load(kRelaxed) << '\n';
  describe(out, "manta_body_bytes", "gauge", "Bytes of request bodies in memory, and of what was read out of them.");
  out << "manta_body_bytes " << body_bytes.load(kRelaxed) << '\n';
  describe(out, "manta_waiting_pixels", "gauge", "Pixels that wait for a thread to decode them, or are in one.");
  out << "manta_waiting_pixels " << waiting_pixels.load(kRelaxed) << '\n';
  describe(out, "manta_uptime_seconds", "gauge", "Since the server started.");
  out << "manta_uptime_seconds " << uptime.count() << '\n';
  describe(out, "process_resident_memory_bytes", "gauge", "Resident memory.");
  out << "process_resident_memory_bytes " << resident_bytes() << '\n';
}

std::string Metrics::text(const Engine& engine, const std::string& model_version, std::size_t queued) const {
  std::ostringstream out;
  out.precision(12);
  const std::string model = "model=\"" + escaped(engine.model().name) + "\",version=\"" + escaped(model_version) + "\"";
  describe(out, "manta_engine_info", "gauge", "What runs; always 1.");
  out << "manta_engine_info{" << model << ",engine=\"" << kVersion << "\",onnxruntime=\""
      << escaped(Engine::onnxruntime_version()) << "\",provider=\"" << escaped(engine.provider()) << "\"} 1\n";
  put_requests(out);
  put_stages(out, engine);
  put_batches(out, model);
  put_gauges(out, queued);
  return out.str();
}

}  // namespace manta::server
