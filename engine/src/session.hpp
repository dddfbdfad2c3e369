// ONNX Runtime, and what a graph must look like.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <string>

#include "manifest.hpp"
#include "manta/options.hpp"

namespace manta {

struct LoadedSession {
  Ort::Session session{nullptr};
  std::string provider;
  std::string provider_message;
};

// Throws BrokenModel when ONNX Runtime cannot load `bytes`; `name` is for its message.
[[nodiscard]] LoadedSession load_session(const std::string& bytes, const std::string& name,
                                         const EngineOptions& options);

// The manifest inside the graph. Throws BrokenModel when there is none, or when the graph does not take and give what
// it says.
[[nodiscard]] Manifest read_metadata(const Ort::Session& session);

}  // namespace manta
