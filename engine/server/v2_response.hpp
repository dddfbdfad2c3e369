// The answer to an infer request of the Open Inference Protocol: JSON, or JSON with binary data behind it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "exchange.hpp"
#include "manta/engine.hpp"

namespace manta::server {

// Writes `rows_of_probabilities` of the exchange, [count, classes], as `v2` of it says.
void write_infer_answer(Exchange& exchange, const Engine& engine, std::string_view model_version);

// The likeliest classes of one row as Triton writes them: "value:index:label".
[[nodiscard]] std::vector<std::string> classification(const Engine& engine, const float* probabilities, int classes);

}  // namespace manta::server
