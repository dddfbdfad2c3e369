#include "session.hpp"

#include <cstdint>
#include <vector>

#include "manta/errors.hpp"

namespace manta {
namespace {

constexpr const char* kMetadataKey = "manta";

// One for the process, as ONNX Runtime wants it; made when the first model is loaded.
Ort::Env& environment() {
  static Ort::Env env = [] {
    Ort::Env made(ORT_LOGGING_LEVEL_ERROR, "manta");
    // The arena grows by what is asked for; by default it doubles each time, and keeps the unused half.
    constexpr int kSameAsRequested = 1;
    const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    made.CreateAndRegisterAllocator(memory, Ort::ArenaCfg(0, kSameAsRequested, -1, -1));
    return made;
  }();
  return env;
}

GraphOptimizationLevel to_ort(GraphLevel level) {
  switch (level) {
    case GraphLevel::none:
      return ORT_DISABLE_ALL;
    case GraphLevel::basic:
      return ORT_ENABLE_BASIC;
    case GraphLevel::extended:
      return ORT_ENABLE_EXTENDED;
    case GraphLevel::all:
      break;
  }
  return ORT_ENABLE_ALL;
}

// Thread counts are always set: the default takes every core and spins on it between requests.
Ort::SessionOptions session_options(const EngineOptions& options) {
  Ort::SessionOptions session;
  session.SetIntraOpNumThreads(options.threads);
  session.SetInterOpNumThreads(1);
  session.SetExecutionMode(ORT_SEQUENTIAL);
  session.AddConfigEntry("session.intra_op.allow_spinning", "0");
  session.SetLogSeverityLevel(ORT_LOGGING_LEVEL_ERROR);
  session.SetGraphOptimizationLevel(to_ort(options.graph_level));
  if (options.arena) {
    session.AddConfigEntry("session.use_env_allocators", "1");
  } else {
    session.DisableCpuMemArena();
  }
  return session;
}

Ort::Session make_session(const std::string& bytes, const std::string& name, const Ort::SessionOptions& options) {
  try {
    return {environment(), bytes.data(), bytes.size(), options};
  } catch (const Ort::Exception& error) {
    throw BrokenModel("ONNX Runtime cannot load " + name + ": " + error.what());
  }
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (const std::int64_t side : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(side);
  return text + "]";
}

// `expected`: -1 for any number of images.
void check_tensor(const std::string& name, const Ort::TypeInfo& type, ONNXTensorElementDataType element,
                  const std::vector<std::int64_t>& expected) {
  if (type.GetONNXType() != ONNX_TYPE_TENSOR) throw BrokenModel("`" + name + "` of the graph is no tensor");
  const auto tensor = type.GetTensorTypeAndShapeInfo();
  if (tensor.GetElementType() != element) throw BrokenModel("`" + name + "` of the graph has another element type");
  if (tensor.GetShape() != expected) {
    throw BrokenModel("`" + name + "` of the graph is " + shape_text(tensor.GetShape()) + ", the manifest says " +
                      shape_text(expected));
  }
}

void check_signature(const Ort::Session& session, const Manifest& manifest) {
  Ort::AllocatorWithDefaultOptions allocator;
  const bool one_each = session.GetInputCount() == 1 && session.GetOutputCount() == 1;
  if (!one_each || std::string(session.GetInputNameAllocated(0, allocator).get()) != "images" ||
      std::string(session.GetOutputNameAllocated(0, allocator).get()) != "probabilities") {
    throw BrokenModel("the graph must take `images` and give `probabilities`, and nothing else");
  }
  check_tensor("images", session.GetInputTypeInfo(0), ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
               {-1, manifest.height, manifest.width, 3});
  check_tensor("probabilities", session.GetOutputTypeInfo(0), ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
               {-1, static_cast<std::int64_t>(manifest.labels.size())});
}

}  // namespace

LoadedSession load_session(const std::string& bytes, const std::string& name, const EngineOptions& options) {
  std::string message;
  if (options.provider == Provider::cuda) {
    try {
      Ort::SessionOptions with_cuda = session_options(options);
      OrtCUDAProviderOptions cuda{};
      cuda.device_id = options.cuda_device;
      with_cuda.AppendExecutionProvider_CUDA(cuda);
      return {make_session(bytes, name, with_cuda), "cuda:" + std::to_string(options.cuda_device), ""};
    } catch (const Ort::Exception& error) {
      message = std::string("CUDA cannot be used, the CPU runs the model: ") + error.what();
    } catch (const BrokenModel& error) {  // the provider is loaded with the session: try again without it
      message = std::string("CUDA cannot be used, the CPU runs the model: ") + error.what();
    }
  }
  return {make_session(bytes, name, session_options(options)), "cpu", message};
}

Manifest read_metadata(const Ort::Session& session) {
  Ort::AllocatorWithDefaultOptions allocator;
  const auto sealed = session.GetModelMetadata().LookupCustomMetadataMapAllocated(kMetadataKey, allocator);
  if (sealed == nullptr) {
    throw BrokenModel(std::string("the ONNX file carries no Manta manifest (metadata key '") + kMetadataKey + "')");
  }
  Manifest manifest = open_onnx_seal(sealed.get());
  check_signature(session, manifest);
  return manifest;
}

}  // namespace manta
