// What the server and its model are, in the documents of the Open Inference Protocol and its extensions.
//
// `inputs` names the one tensor that every client can send; that image files are taken as well stands in the metadata's
// `parameters`.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "batch_statistics.hpp"
#include "manta/engine.hpp"

namespace manta::server {

[[nodiscard]] std::string server_metadata();
[[nodiscard]] std::string model_readiness(const Engine& engine);
[[nodiscard]] std::string model_metadata(const Engine& engine, std::string_view version);
// Triton's ModelConfig; dims are without the batch.
[[nodiscard]] std::string model_config(const Engine& engine, std::string_view version, std::size_t max_images);
// Preparing input and output is part of `compute_infer`.
[[nodiscard]] std::string model_statistics(const Engine& engine, std::string_view version, const BatchTotals& totals);
[[nodiscard]] std::string repository_index(const Engine& engine, std::string_view version);

}  // namespace manta::server
