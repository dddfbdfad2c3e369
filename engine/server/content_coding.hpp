// Content-Encoding gzip and deflate: bodies are inflated, answers compressed.
//
// A few kilobytes can inflate to gigabytes, so what comes out is counted and bounded.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace manta::server {

enum class ContentCoding { gzip, deflate };

[[nodiscard]] std::string_view name(ContentCoding coding) noexcept;

// How a body is encoded; none for a body as it is. Throws HttpError for anything but identity, gzip and deflate.
[[nodiscard]] std::optional<ContentCoding> content_coding(std::string_view header);

// Whichever the client names first in Accept-Encoding; none when it names neither.
[[nodiscard]] std::optional<ContentCoding> accepted_coding(std::string_view header);

// Throws HttpError for a body that is damaged or cut off, and when more than `most` bytes come out.
[[nodiscard]] std::string inflated(std::string_view body, ContentCoding coding, std::size_t most);

// Fast rather than small.
[[nodiscard]] std::string compressed(std::string_view body, ContentCoding coding);

}  // namespace manta::server
