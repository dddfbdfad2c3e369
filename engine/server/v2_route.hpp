// The paths of the Open Inference Protocol v2 and its extensions.
#pragma once

#include <optional>
#include <string_view>

namespace manta::server {

enum class V2Call {
  server,
  live,
  ready,
  all_statistics,
  metadata,
  model_ready,
  config,
  statistics,
  infer,
  index,
  load,
  unload
};

struct V2Target {
  V2Call call;
  std::string_view method;
  // Empty where the path names none.
  std::string_view model;
  std::optional<std::string_view> version;
};

// None when no route has this path. Parts of the answer point into `path`.
[[nodiscard]] std::optional<V2Target> find_v2_route(std::string_view path);

}  // namespace manta::server
