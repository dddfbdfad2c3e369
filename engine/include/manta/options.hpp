// How a model is run.
#pragma once

#include <cstdint>
#include <string>

#include "manta/export.hpp"

namespace manta {

enum class Provider { cpu, cuda };

// How far ONNX Runtime rewrites the graph when it loads it.
enum class GraphLevel { none, basic, extended, all };

// 64 million pixels are 192 MB decoded; the same limit as app/imaging.py.
inline constexpr std::int64_t kMaxPixels = 64'000'000;

struct MANTA_ENGINE_EXPORT EngineOptions {
  // Which graph of a bundle runs: fp32, int8, fp16. A lone .onnx file is taken as it is.
  std::string variant = "fp32";
  // Threads inside one run. More concurrent callers use cores better than more threads.
  int threads = 1;
  // With cuda, a machine without it runs on the CPU, and Engine::provider_message says why.
  Provider provider = Provider::cpu;
  int cuda_device = 0;
  GraphLevel graph_level = GraphLevel::all;
  // ONNX Runtime keeps the memory of former runs: faster, but what the largest batch took stays taken.
  bool arena = true;
  // Width times height of an encoded image; larger ones are refused before they are decoded.
  std::int64_t max_pixels = kMaxPixels;

  // Throws BadInput, naming the option that cannot be used.
  void validate() const;
  [[nodiscard]] std::string to_string() const;
};

}  // namespace manta
