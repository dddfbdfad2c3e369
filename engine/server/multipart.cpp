#include "multipart.hpp"

#include <algorithm>

#include "problem.hpp"
#include "text.hpp"

namespace manta::server {
namespace {

constexpr std::string_view kLineEnd = "\r\n";
constexpr std::size_t kMostFiles = 2;
constexpr std::size_t kMostFields = 1000;
constexpr std::size_t kLargestField = std::size_t{1} << 20U;

[[noreturn]] void refuse(const std::string& why) {
  throw HttpError(400, "the multipart body cannot be read: " + why);
}

// Up to the next `;` outside of quotes; `rest` moves behind it.
std::string_view next_segment(std::string_view& rest) {
  bool quoted = false;
  std::size_t at = 0;
  for (; at < rest.size() && (quoted || rest[at] != ';'); ++at) {
    if (rest[at] == '"') quoted = !quoted;
    if (quoted && rest[at] == '\\' && at + 1 < rest.size()) ++at;
  }
  const std::string_view segment = rest.substr(0, at);
  rest.remove_prefix(std::min(at + 1, rest.size()));
  return trimmed(segment);
}

std::string unquoted(std::string_view value) {
  if (value.size() < 2 || value.front() != '"' || value.back() != '"') return std::string(value);
  std::string text;
  for (std::size_t i = 1; i + 1 < value.size(); ++i) {
    const bool escapes = value[i] == '\\' && (value[i + 1] == '\\' || value[i + 1] == '"') && i + 2 < value.size();
    text += escapes ? value[++i] : value[i];
  }
  return text;
}

// Reads a body part by part.
class Parts {
 public:
  Parts(std::string_view body, const std::string& boundary) : rest_(body), delimiter_("--" + boundary) {
    while (rest_.substr(0, 2) == kLineEnd) rest_.remove_prefix(2);
    if (rest_.substr(0, delimiter_.size()) != delimiter_) refuse("it does not begin with its boundary");
    rest_.remove_prefix(delimiter_.size());
  }

  // False at the end, and for a part that has none: such a part does not count.
  bool next() {
    if (rest_.substr(0, 2) != kLineEnd) return false;
    rest_.remove_prefix(2);
    return read_headers() && read_content();
  }

  // The value of the part's Content-Disposition.
  [[nodiscard]] std::string_view disposition() const { return disposition_; }
  [[nodiscard]] std::string_view content() const { return content_; }

 private:
  // False when the body is cut off here.
  bool read_headers() {
    disposition_ = {};
    while (true) {
      const std::size_t end = rest_.find(kLineEnd);
      if (end == std::string_view::npos) return false;
      const std::string_view line = rest_.substr(0, end);
      // The line end behind the headers stays: behind an empty part it may begin the boundary.
      if (line.empty()) return true;
      rest_.remove_prefix(end + kLineEnd.size());
      const std::size_t colon = line.find(':');
      if (colon == 0 || colon == std::string_view::npos) refuse("a part has a header without a name");
      if (lower(line.substr(0, colon)) == "content-disposition") disposition_ = line.substr(colon + 1);
    }
  }

  // Up to the next boundary, which stands at the beginning of a line and has nothing behind it but "--". False when
  // there is none.
  bool read_content() {
    const std::string mark = std::string(kLineEnd) + delimiter_;
    for (std::size_t at = rest_.find(mark); at != std::string_view::npos; at = rest_.find(mark, at + 2)) {
      const std::string_view after = rest_.substr(at + mark.size(), 2);
      if (after != kLineEnd && after != "--") continue;
      content_ = at < 2 ? std::string_view() : rest_.substr(2, at - 2);
      rest_.remove_prefix(at + mark.size());
      return true;
    }
    return false;
  }

  std::string_view rest_;
  std::string delimiter_;
  std::string_view disposition_;
  std::string_view content_;
};

}  // namespace

std::optional<std::string> header_parameter(std::string_view header, std::string_view name) {
  next_segment(header);  // the value itself
  while (!header.empty()) {
    const std::string_view segment = next_segment(header);
    const std::size_t equals = segment.find('=');
    if (equals == std::string_view::npos || lower(trimmed(segment.substr(0, equals))) != name) continue;
    return unquoted(trimmed(segment.substr(equals + 1)));
  }
  return std::nullopt;
}

Form read_form(std::string_view content_type, std::string_view body) {
  const auto boundary = header_parameter(content_type, "boundary");
  if (!boundary || boundary->empty()) refuse("Missing boundary in multipart.");
  Form form;
  std::size_t fields = 0;
  Parts parts(body, *boundary);
  while (parts.next()) {
    auto name = header_parameter(parts.disposition(), "name");
    if (!name) refuse(R"(The Content-Disposition header field "name" must be provided.)");
    if (header_parameter(parts.disposition(), "filename")) {
      form.files.push_back(parts.content());
      if (form.files.size() > kMostFiles) refuse("Too many files. Maximum number of files is 2.");
      continue;
    }
    if (++fields > kMostFields) refuse("Too many fields. Maximum number of fields is 1000.");
    if (parts.content().size() > kLargestField) refuse("Part exceeded maximum size of 1024KB.");
    form.fields.insert_or_assign(std::move(*name), parts.content());
  }
  return form;
}

}  // namespace manta::server
