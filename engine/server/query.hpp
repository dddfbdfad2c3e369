// What stands in a request's target.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace manta::server {

struct Target {
  std::string path;
  std::string_view query;
};

// Of `/path?query`, or of `http://host/path?query`, which proxies are sent. The path is percent-decoded.
[[nodiscard]] Target split_target(std::string_view target);

// The last value of `name`, percent-decoded, with "+" as space.
[[nodiscard]] std::optional<std::string> query_value(std::string_view query, std::string_view name);

}  // namespace manta::server
