// What an answer looks like: the same JSON as the Python service's.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "exchange.hpp"
#include "manta/engine.hpp"
#include "program/json_writer.hpp"

namespace manta::server {

// Serializes answers of one model; not for several threads at once.
class AnswerWriter {
 public:
  AnswerWriter(const Engine& engine, std::string model_version);

  void predict(Exchange& exchange);
  void predict_batch(Exchange& exchange);
  void health(Exchange& exchange) const;
  void ready(Exchange& exchange) const;
  void model_info(Exchange& exchange, std::size_t queued) const;

  [[nodiscard]] const std::string& model_version() const noexcept { return model_version_; }

 private:
  void put_predictions(program::JsonWriter& json, const Exchange& exchange, const Row& row);
  void put_row(program::JsonWriter& json, const Exchange& exchange, std::size_t index);
  void put_version(program::JsonWriter& json, std::size_t queued) const;

  const Engine& engine_;
  std::string model_version_;
  std::vector<Prediction> best_;
};

}  // namespace manta::server
