// The body of an infer request of the Open Inference Protocol -> images, and how the answer is wanted.
//
//   {"id"?, "parameters"?: {"user_id"?, "binary_data_output"?},
//    "inputs": [{"name", "shape", "datatype", "data" | "parameters": {"binary_data_size"}}],
//    "outputs"?: [{"name", "parameters"?: {"binary_data"?, "classification"?}}]}
//   and behind it, where `Inference-Header-Content-Length` tells its end, the binary data of the input
//
// One input is expected: `images`, pixels at the model's input size, or `encoded`, image files of any size.
#pragma once

#include <simdjson.h>

#include <cstddef>
#include <string_view>

#include "exchange.hpp"
#include "manta/model.hpp"

namespace manta::server {

inline constexpr std::string_view kImages = "images";
inline constexpr std::string_view kEncoded = "encoded";
inline constexpr std::string_view kProbabilities = "probabilities";

// Fills `v2` of the exchange, and `pixels` and `count`, or `rows`. Throws HttpError.
void read_infer(Exchange& exchange, simdjson::dom::parser& parser, const ModelInfo& model, std::size_t max_images);

}  // namespace manta::server
