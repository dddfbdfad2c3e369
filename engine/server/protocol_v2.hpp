// Open Inference Protocol v2, JSON tensors: `images` UINT8 [N, H, W, 3] -> `probabilities` FP32 [N, C].
// https://github.com/kserve/open-inference-protocol
#pragma once

#include <simdjson.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "exchange.hpp"
#include "manta/engine.hpp"

namespace manta::server {

class ProtocolV2 {
 public:
  ProtocolV2(const Engine& engine, std::string model_version, std::size_t max_images);

  [[nodiscard]] bool owns(std::string_view path) const;

  // True when the answer is written; false when `exchange` is now an entry for the batcher, and `answer` is to follow.
  // Throws HttpError.
  [[nodiscard]] bool handle(Exchange& exchange, simdjson::dom::parser& parser) const;

  void answer(Exchange& exchange) const;

 private:
  void read_infer(Exchange& exchange, simdjson::dom::parser& parser) const;
  void read_images(simdjson::dom::object tensor, Exchange& exchange) const;
  void metadata(Exchange& exchange) const;

  const Engine& engine_;
  std::string model_version_;
  std::size_t max_images_;
};

}  // namespace manta::server
