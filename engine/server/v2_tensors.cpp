#include "v2_tensors.hpp"

#include <cmath>

#include "problem.hpp"
#include "program/json_writer.hpp"
#include "request_body.hpp"

namespace manta::server {
namespace {

namespace dom = simdjson::dom;

constexpr std::size_t kLengthBytes = 4;

std::string input(std::string_view name) {
  return "input `" + std::string(name) + "`";
}

const char* type_of(std::optional<dom::element> value) {
  return value ? json_type(*value) : "null";
}

std::int64_t values_of(const Shape& shape) {
  std::int64_t product = 1;
  for (const std::int64_t side : shape) product *= side;
  return product;
}

// None unless it is a list of whole numbers.
std::optional<Shape> whole_numbers(std::optional<dom::element> value) {
  dom::array sides;
  if (!value || value->get(sides) != simdjson::SUCCESS) return std::nullopt;
  Shape shape;
  for (const dom::element side : sides) {
    std::int64_t size = 0;
    if (!side.is_int64() || side.get(size) != simdjson::SUCCESS) return std::nullopt;
    shape.push_back(size);
  }
  return shape;
}

// The first eight sides.
std::string shortened(const Shape& shape) {
  constexpr std::ptrdiff_t kShown = 8;
  if (shape.size() <= kShown) return shape_text(shape);
  std::string text = shape_text(Shape(shape.begin(), shape.begin() + kShown));
  text.pop_back();
  return text + ", '...']";
}

// One level of nested lists.
void flatten_level(dom::element value, const Shape& shape, std::size_t axis, std::string_view name,
                   const std::function<void(dom::element)>& take) {
  dom::array items;
  if (value.get(items) != simdjson::SUCCESS || static_cast<std::int64_t>(items.size()) != shape[axis]) {
    throw HttpError(400, "nested `data` of " + input(name) + " is not of shape " + shape_text(shape) + ": see axis " +
                             std::to_string(axis));
  }
  for (const dom::element item : items) {
    if (axis + 1 < shape.size()) {
      flatten_level(item, shape, axis + 1, name, take);
    } else {
      take(item);
    }
  }
}

std::string number_text(double value) {
  std::string text;
  program::StringOutput output(text);
  program::JsonWriter(output).number(value);
  return text;
}

std::uint8_t uint8_of(dom::element value, std::string_view name) {
  std::uint64_t whole = 0;
  if (value.is_uint64() && value.get(whole) == simdjson::SUCCESS && whole <= 255) {
    return static_cast<std::uint8_t>(whole);
  }
  double number = 0;
  const std::string expected = input(name) + " must hold whole numbers from 0 to 255, ";
  if (value.get(number) != simdjson::SUCCESS) throw HttpError(400, expected + "not " + json_type(value));
  if (number >= 0 && number <= 255 && std::floor(number) == number) return static_cast<std::uint8_t>(number);
  const bool is_whole = value.is_int64() || value.is_uint64();
  throw HttpError(400, expected + "got " + (is_whole ? simdjson::minify(value) : number_text(number)));
}

std::uint32_t little_endian(std::string_view data) {
  std::uint32_t value = 0;
  for (std::size_t i = kLengthBytes; i > 0; --i) value = value << 8U | static_cast<std::uint8_t>(data[i - 1]);
  return value;
}

}  // namespace

std::string shape_text(const Shape& shape) {
  std::string text = "[";
  for (const std::int64_t side : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(side);
  return text + "]";
}

Shape read_shape(std::optional<dom::element> value, const Shape& expected, std::string_view name,
                 std::size_t max_images) {
  const std::string wanted = input(name) + " must have shape " + shape_text(expected);
  auto shape = whole_numbers(value);
  if (!shape) throw HttpError(400, wanted + "; `shape` must be a list of whole numbers");
  Shape as_asked = expected;
  if (!shape->empty()) as_asked[0] = shape->front();
  if (*shape != as_asked) {
    throw HttpError(400, wanted + " (-1 is the number of images), not " + shortened(*shape));
  }
  if (shape->front() < 1 || shape->front() > static_cast<std::int64_t>(max_images)) {
    throw HttpError(400, input(name) + " must hold 1 to " + std::to_string(max_images) + " images, not " +
                             std::to_string(shape->front()));
  }
  return *shape;
}

void flatten(std::optional<dom::element> data, const Shape& shape, std::string_view name,
             const std::function<void(dom::element)>& take) {
  dom::array items;
  if (!data || data->get(items) != simdjson::SUCCESS) {
    throw HttpError(400, "`data` of " + input(name) + " must be a list, not " + type_of(data));
  }
  if (shape.size() > 1 && items.size() > 0 && items.at(0).is_array()) {
    flatten_level(*data, shape, 0, name, take);
    return;
  }
  const auto count = static_cast<std::int64_t>(items.size());
  if (count != values_of(shape)) {
    throw HttpError(400, input(name) + " of shape " + shape_text(shape) + " has " + std::to_string(values_of(shape)) +
                             " values, not " + std::to_string(count));
  }
  for (const dom::element item : items) take(item);
}

void uint8_from_json(std::optional<dom::element> data, const Shape& shape, std::string_view name, std::uint8_t* to) {
  flatten(data, shape, name, [&](dom::element value) { *to++ = uint8_of(value, name); });
}

std::vector<ByteView> bytes_from_binary(std::string_view data, std::size_t count, std::string_view name) {
  std::vector<ByteView> elements;
  std::string_view rest = data;
  while (elements.size() < count && rest.size() >= kLengthBytes) {
    const std::size_t length = little_endian(rest);
    rest.remove_prefix(kLengthBytes);
    if (length > rest.size()) {
      throw HttpError(400, "element " + std::to_string(elements.size()) + " of " + input(name) + " has a length of " +
                               std::to_string(length) + " bytes, but " + std::to_string(rest.size()) + " follow");
    }
    elements.emplace_back(rest.substr(0, length));
    rest.remove_prefix(length);
  }
  if (elements.size() != count || !rest.empty()) {
    throw HttpError(400, input(name) + " must hold " + std::to_string(count) +
                             " elements, each behind its 4-byte length; " + std::to_string(elements.size()) +
                             " were found and " + std::to_string(rest.size()) + " bytes are left");
  }
  return elements;
}

void append_bytes(std::string_view element, std::string& to) {
  const auto length = static_cast<std::uint32_t>(element.size());
  for (unsigned shift = 0; shift < 32; shift += 8) to += static_cast<char>(length >> shift & 0xFFU);
  to += element;
}

}  // namespace manta::server
