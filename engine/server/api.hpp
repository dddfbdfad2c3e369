// Routes and answers: what a request asks for, done. Knows no sockets.
//
//   handle -> read the body -> decode (small images here, large ones elsewhere) -> batcher -> answer
//
// One for each event loop, and called from its thread only.
#pragma once

#include <simdjson.h>

#include <chrono>
#include <cstddef>
#include <functional>
#include <string>

#include "answer.hpp"
#include "batcher.hpp"
#include "exchange.hpp"
#include "manta/engine.hpp"
#include "metrics.hpp"
#include "protocol_v2.hpp"

namespace manta::server {

struct ApiLimits {
  std::size_t max_images = 256;
  // Of a body, also of what a compressed one inflates to.
  std::size_t max_body_bytes = std::size_t{32} << 20U;
  // Requests with more pixels than this, all images together, are decoded elsewhere.
  std::int64_t inline_pixels = 100'000;
  // Of all requests that are decoded elsewhere, or wait for it.
  std::int64_t max_pixels_in_all = 512'000'000;
  // Of one request: its body, what base64 in it held, and its input to the model.
  std::size_t max_bytes_in_all = std::size_t{256} << 20U;
  // From the request to the end of its decoding elsewhere.
  Clock::duration queue_time = std::chrono::seconds(10);
};

class Api {
 public:
  struct Hooks {
    // Calls back on the loop's own thread; may be called from any.
    std::function<void(std::function<void()>)> later;
    // Calls on a thread for decoding.
    std::function<void(std::function<void()>)> decode_elsewhere;
    // Images that wait, in all loops.
    std::function<std::size_t()> queued;
    // Whether nobody waits for answers any more.
    std::function<bool()> ended;
  };

  Api(const Engine& engine, Batcher& batcher, Metrics& metrics, ApiLimits limits, std::string model_version,
      Hooks hooks);

  // Answers by `exchange.send()`, now or later. The exchange must live until then. Throws nothing.
  void handle(Exchange& exchange);

  // What a batch brought; called by the exchange.
  void on_batch(Exchange& exchange, BatchOutcome outcome);

 private:
  // Calls `step`; what it throws becomes the answer.
  template <typename Step>
  void guarded(Exchange& exchange, Step step);
  void dispatch(Exchange& exchange);
  void dispatch_v2(Exchange& exchange);
  void tell(Exchange& exchange) const;
  void read_and_classify(Exchange& exchange);
  void classify(Exchange& exchange);
  void take_memory(Exchange& exchange, std::size_t bytes) const;
  [[nodiscard]] bool decode(Exchange& exchange, Clock::time_point until) const;
  void submit(Exchange& exchange);
  void answer(Exchange& exchange);

  const Engine& engine_;
  Batcher& batcher_;
  Metrics& metrics_;
  ApiLimits limits_;
  Hooks hooks_;
  AnswerWriter answers_;
  ProtocolV2 v2_;
  simdjson::dom::parser parser_;
};

}  // namespace manta::server
