#include "manta/options.hpp"

#include <sstream>

#include "manta/errors.hpp"

namespace manta {
namespace {

constexpr int kMostThreads = 1024;

const char* name(GraphLevel level) {
  switch (level) {
    case GraphLevel::none:
      return "none";
    case GraphLevel::basic:
      return "basic";
    case GraphLevel::extended:
      return "extended";
    case GraphLevel::all:
      return "all";
  }
  return "unknown";
}

}  // namespace

void EngineOptions::validate() const {
  if (variant.empty()) throw BadInput("option variant must name a variant, such as fp32");
  if (threads < 1 || threads > kMostThreads) {
    throw BadInput("option threads must be 1 to " + std::to_string(kMostThreads) + ", not " + std::to_string(threads));
  }
  if (cuda_device < 0) throw BadInput("option cuda_device must be 0 or more, not " + std::to_string(cuda_device));
  if (max_pixels < 1) throw BadInput("option max_pixels must be 1 or more, not " + std::to_string(max_pixels));
}

std::string EngineOptions::to_string() const {
  std::ostringstream text;
  text << "variant=" << variant << " threads=" << threads
       << " provider=" << (provider == Provider::cuda ? "cuda:" + std::to_string(cuda_device) : "cpu")
       << " graph_level=" << name(graph_level) << " arena=" << (arena ? "on" : "off") << " max_pixels=" << max_pixels;
  return text.str();
}

}  // namespace manta
