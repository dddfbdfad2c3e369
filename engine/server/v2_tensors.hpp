// Tensors of the Open Inference Protocol: JSON data and the binary tensor data extension.
//
//   JSON     `data`, flat or nested, row-major
//   binary   little-endian, row-major, without padding; BYTES elements each behind a 4-byte length
//
// Whatever cannot be used throws HttpError. `name` is the input's, for messages.
#pragma once

#include <simdjson.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "manta/bytes.hpp"

namespace manta::server {

using Shape = std::vector<std::int64_t>;

// "[3, 8, 8, 3]"
[[nodiscard]] std::string shape_text(const Shape& shape);

// The declared shape, which has to be `expected` with a number of images for its -1.
[[nodiscard]] Shape read_shape(std::optional<simdjson::dom::element> value, const Shape& expected,
                               std::string_view name, std::size_t max_images);

// Calls `take` with each value of a list that is either flat or nested as `shape` says, row-major.
void flatten(std::optional<simdjson::dom::element> data, const Shape& shape, std::string_view name,
             const std::function<void(simdjson::dom::element)>& take);

// A UINT8 tensor of that shape -> `to`, row-major.
void uint8_from_json(std::optional<simdjson::dom::element> data, const Shape& shape, std::string_view name,
                     std::uint8_t* to);

// The `count` elements of a one-dimensional BYTES tensor, pointing into `data`.
[[nodiscard]] std::vector<ByteView> bytes_from_binary(std::string_view data, std::size_t count, std::string_view name);

// Appends one element of a BYTES tensor.
void append_bytes(std::string_view element, std::string& to);

}  // namespace manta::server
