// The routes of the Open Inference Protocol v2 (KServe, Triton), so that their clients work as they are.
//
// https://github.com/kserve/open-inference-protocol and Triton's docs/protocol/extension_*.md
#pragma once

#include <simdjson.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "exchange.hpp"
#include "manta/engine.hpp"
#include "v2_route.hpp"

namespace manta::server {

class ProtocolV2 {
 public:
  // What is left to do with a request that was handled.
  enum class Next { send, decode, run };

  // max_body_bytes: of what a compressed body inflates to.
  ProtocolV2(const Engine& engine, std::string model_version, std::size_t max_images, std::size_t max_body_bytes);

  [[nodiscard]] static bool owns(std::string_view path);

  // Writes the answer, or reads the images of an infer request: encoded ones are to be decoded, then all are to be run.
  // Throws HttpError.
  [[nodiscard]] Next handle(Exchange& exchange, const Metrics& metrics, simdjson::dom::parser& parser) const;

  // Throws HttpError for the first image that could not be read: the protocol has no place for it.
  static void check_rows(const Exchange& exchange);

  // What was run, as the request wanted it.
  void answer(Exchange& exchange) const;

 private:
  [[nodiscard]] Next infer(Exchange& exchange, simdjson::dom::parser& parser) const;
  void decode_content(Exchange& exchange) const;
  [[nodiscard]] std::string document(const V2Target& target, Exchange& exchange, const Metrics& metrics,
                                     simdjson::dom::parser& parser) const;
  [[nodiscard]] std::string index(Exchange& exchange, simdjson::dom::parser& parser) const;
  void check_model(const V2Target& target) const;

  const Engine& engine_;
  std::string model_version_;
  std::size_t max_images_;
  std::size_t max_body_bytes_;
};

}  // namespace manta::server
