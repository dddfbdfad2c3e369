#include "v2_route.hpp"

#include <array>

namespace manta::server {
namespace {

struct Entry {
  std::string_view path;
  V2Call call;
  std::string_view method;
};

// Those without parameters come first.
constexpr std::array<Entry, 17> kTable = {{
    {"/v2", V2Call::server, "GET"},
    {"/v2/health/live", V2Call::live, "GET"},
    {"/v2/health/ready", V2Call::ready, "GET"},
    {"/v2/models/stats", V2Call::all_statistics, "GET"},
    {"/v2/repository/index", V2Call::index, "POST"},
    {"/v2/repository/models/{model}/load", V2Call::load, "POST"},
    {"/v2/repository/models/{model}/unload", V2Call::unload, "POST"},
    {"/v2/models/{model}/infer", V2Call::infer, "POST"},
    {"/v2/models/{model}/versions/{version}/infer", V2Call::infer, "POST"},
    {"/v2/models/{model}", V2Call::metadata, "GET"},
    {"/v2/models/{model}/versions/{version}", V2Call::metadata, "GET"},
    {"/v2/models/{model}/ready", V2Call::model_ready, "GET"},
    {"/v2/models/{model}/versions/{version}/ready", V2Call::model_ready, "GET"},
    {"/v2/models/{model}/config", V2Call::config, "GET"},
    {"/v2/models/{model}/versions/{version}/config", V2Call::config, "GET"},
    {"/v2/models/{model}/stats", V2Call::statistics, "GET"},
    {"/v2/models/{model}/versions/{version}/stats", V2Call::statistics, "GET"},
}};

// The next segment of "/a/b"; `rest` moves behind it.
std::string_view next_segment(std::string_view& rest) {
  rest.remove_prefix(1);  // the slash
  const std::string_view segment = rest.substr(0, rest.find('/'));
  rest.remove_prefix(segment.size());
  return segment;
}

bool match(const Entry& entry, std::string_view path, V2Target& target) {
  std::string_view expected = entry.path;
  while (!expected.empty() && !path.empty()) {
    const std::string_view name = next_segment(expected);
    const std::string_view segment = next_segment(path);
    if (name == "{model}" && !segment.empty()) {
      target.model = segment;
    } else if (name == "{version}" && !segment.empty()) {
      target.version = segment;
    } else if (name != segment) {
      return false;
    }
  }
  return expected.empty() && path.empty();
}

}  // namespace

std::optional<V2Target> find_v2_route(std::string_view path) {
  if (path.substr(0, 1) != "/") return std::nullopt;
  for (const Entry& entry : kTable) {
    V2Target target{entry.call, entry.method, {}, std::nullopt};
    if (match(entry, path, target)) return target;
  }
  return std::nullopt;
}

}  // namespace manta::server
