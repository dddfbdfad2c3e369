// multipart/form-data (RFC 7578): one file and a few short fields.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace manta::server {

struct Form {
  // Contents, pointing into the body.
  std::vector<std::string_view> files;
  // Of a name that stands more than once, the last value.
  std::map<std::string, std::string_view, std::less<>> fields;
};

// `content_type` names the boundary. Throws HttpError for a body that is not what it says, or has more than
// 2 files, 1000 fields or a field of more than 1 MiB.
[[nodiscard]] Form read_form(std::string_view content_type, std::string_view body);

// The value of a parameter in a header such as `form-data; name="x"; filename="y"`, unquoted. `name` is in small
// letters, the header's may be in any.
[[nodiscard]] std::optional<std::string> header_parameter(std::string_view header, std::string_view name);

}  // namespace manta::server
