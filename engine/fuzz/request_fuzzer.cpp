// Any request is answered once, and never with a server error. The first bytes choose route, content type and how much
// of the body is JSON; tests/engine/fuzz_seeds.py writes the same.
#include <simdjson.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <functional>
#include <string>

#include "api.hpp"
#include "manta/engine.hpp"

namespace manta::server {
namespace {

class FuzzedExchange final : public Exchange {
 public:
  bool charge(std::size_t /*bytes*/) override { return true; }
  void send() override {
    if (++answers != 1 || response.status >= 500) std::abort();
  }
  void on_batch(BatchOutcome outcome) override { api->on_batch(*this, outcome); }
  Api* api = nullptr;
  int answers = 0;
};

constexpr std::array<std::string_view, 9> kPaths = {"/predict",
                                                    "/predict/batch",
                                                    "/v2/models/colours/infer",
                                                    "/v2/models/colours",
                                                    "/v2/repository/index",
                                                    "/v2/models/colours/stats",
                                                    "/health",
                                                    "/metrics",
                                                    "/model/info"};
constexpr std::array<std::string_view, 5> kTypes = {"application/json", "image/png", "application/octet-stream",
                                                    "text/plain", "multipart/form-data; boundary=XX"};
// Path, content type, and two bytes: bytes of JSON, most significant first; all ones for none.
constexpr std::size_t kChoices = 4;
constexpr unsigned kNoBinary = 0xFFFF;

class Fuzzed {
 public:
  void request(const std::uint8_t* data, std::size_t size) {
    std::string body(reinterpret_cast<const char*>(data + kChoices), size - kChoices);
    body.reserve(body.size() + simdjson::SIMDJSON_PADDING);
    const unsigned json_bytes = data[2] * 256U + data[3];
    const std::string json_bytes_text = std::to_string(json_bytes);
    FuzzedExchange exchange;
    exchange.api = &api_;
    exchange.request.method = data[0] < 128 ? "POST" : "GET";
    exchange.request.path = kPaths[data[0] % kPaths.size()];
    exchange.request.content_type = kTypes[data[1] % kTypes.size()];
    exchange.request.query = std::string_view(body).substr(0, data[1] / kTypes.size());
    if (json_bytes != kNoBinary) exchange.request.json_bytes = json_bytes_text;
    exchange.request.body = body;
    exchange.request.id = "fuzz";
    api_.handle(exchange);
    while (!later_.empty()) {
      const auto call = std::move(later_.front());
      later_.pop_front();
      call();
    }
    if (exchange.answers != 1) std::abort();
  }

 private:
  static EngineOptions options() {
    EngineOptions options;
    options.max_pixels = 250'000;
    return options;
  }

  std::deque<std::function<void()>> later_;
  Engine engine_{std::getenv("MANTA_FUZZ_MODEL"), options()};
  Metrics metrics_;
  Batcher batcher_{{
                       [this](const std::uint8_t* images, std::size_t count, float* probabilities) {
                         engine_.infer(images, count, probabilities);
                       },
                       [this](std::function<void()> call) { later_.push_back(std::move(call)); },
                       [](const std::function<void()>& call) { call(); },
                       [](const RanBatch&) {},
                       [](Clock::duration) {},
                       [this] { return batcher_.queued(); },
                   },
                   BatchLimits(),
                   engine_.input_bytes(),
                   engine_.classes()};
  Api api_{engine_,
           batcher_,
           metrics_,
           ApiLimits(),
           "1",
           {
               [this](std::function<void()> call) { later_.push_back(std::move(call)); },
               [](const std::function<void()>& call) { call(); },
               [] { return std::size_t{0}; },
               [] { return false; },
           }};
};

}  // namespace
}  // namespace manta::server

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < manta::server::kChoices) return 0;
  static manta::server::Fuzzed fuzzed;
  fuzzed.request(data, size);
  return 0;
}
