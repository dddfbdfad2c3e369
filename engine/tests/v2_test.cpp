// Protocol v2 without a server: paths, and tensors as they come in.
#include <gtest/gtest.h>
#include <simdjson.h>

#include <algorithm>
#include <string>
#include <vector>

#include "problem.hpp"
#include "v2_route.hpp"
#include "v2_tensors.hpp"

namespace manta::server {
namespace {

namespace dom = simdjson::dom;

TEST(V2, PathsAndTheirParts) {
  const auto infer = find_v2_route("/v2/models/a/versions/7/infer");
  ASSERT_TRUE(infer);
  EXPECT_EQ(infer->call, V2Call::infer);
  EXPECT_EQ(infer->method, "POST");
  EXPECT_EQ(infer->model, "a");
  EXPECT_EQ(infer->version, "7");
  EXPECT_EQ(find_v2_route("/v2/models/stats")->call, V2Call::all_statistics);
  EXPECT_EQ(find_v2_route("/v2/models/stats/stats")->model, "stats");
  EXPECT_EQ(find_v2_route("/v2")->call, V2Call::server);
  for (const char* path : {"", "/v2/", "/v2/models", "/v2/models/", "/v2/models/a/", "/v2/models//infer",
                           "/v2/models/a/versions", "/v2/models/a/versions//infer", "/v3", "v2"}) {
    EXPECT_FALSE(find_v2_route(path)) << path;
  }
}

std::string refusal(const std::function<void()>& call) {
  try {
    call();
  } catch (const HttpError& error) {
    return error.detail();
  }
  return "";
}

class Data {
 public:
  explicit Data(const std::string& json) : value_(parser_.parse(simdjson::padded_string(json))) {}
  [[nodiscard]] std::string uint8(const Shape& shape) const {
    std::vector<std::uint8_t> values(64);
    const std::string why = refusal([&] { uint8_from_json(value_, shape, "x", values.data()); });
    return why.empty() ? std::string(values.begin(), std::find(values.begin(), values.end(), 0)) : why;
  }
  [[nodiscard]] std::string shape(const Shape& expected) const {
    return refusal([&] { static_cast<void>(read_shape(value_, expected, "x", 9)); });
  }

 private:
  dom::parser parser_;
  dom::element value_;
};

TEST(V2, NumbersFlatAndNested) {
  EXPECT_EQ(Data("[65, 66.0, 67, 68]").uint8({2, 2}), "ABCD");
  EXPECT_EQ(Data("[[65, 66], [67, 68]]").uint8({2, 2}), "ABCD");
  EXPECT_EQ(Data("[[65, 66], [67]]").uint8({2, 2}), "nested `data` of input `x` is not of shape [2, 2]: see axis 1");
  EXPECT_EQ(Data("[65]").uint8({2, 2}), "input `x` of shape [2, 2] has 4 values, not 1");
  EXPECT_EQ(Data("[65, 256]").uint8({2}), "input `x` must hold whole numbers from 0 to 255, got 256");
  EXPECT_EQ(Data("[65, -1]").uint8({2}), "input `x` must hold whole numbers from 0 to 255, got -1");
  EXPECT_EQ(Data("[65, 1.5]").uint8({2}), "input `x` must hold whole numbers from 0 to 255, got 1.5");
  EXPECT_EQ(Data("[65, true]").uint8({2}), "input `x` must hold whole numbers from 0 to 255, not a boolean");
  EXPECT_EQ(Data("3").uint8({2}), "`data` of input `x` must be a list, not a number");
}

TEST(V2, Shapes) {
  EXPECT_EQ(Data("[3, 8]").shape({-1, 8}), "");
  EXPECT_EQ(Data("[0, 8]").shape({-1, 8}), "input `x` must hold 1 to 9 images, not 0");
  EXPECT_EQ(Data("[10, 8]").shape({-1, 8}), "input `x` must hold 1 to 9 images, not 10");
  EXPECT_EQ(Data("[8]").shape({-1, 8}), "input `x` must have shape [-1, 8] (-1 is the number of images), not [8]");
  EXPECT_EQ(Data("[1, 8.0]").shape({-1, 8}),
            "input `x` must have shape [-1, 8]; `shape` must be a list of whole numbers");
  EXPECT_EQ(Data("[]").shape({-1}), "input `x` must have shape [-1] (-1 is the number of images), not []");
}

std::string elements(const std::string& data, std::size_t count) {
  std::string text;
  const std::string why = refusal([&] {
    for (const ByteView each : bytes_from_binary(data, count, "x")) text += std::string(each.text()) + "|";
  });
  return why.empty() ? text : why;
}

TEST(V2, BytesBehindTheirLengths) {
  std::string two;
  append_bytes("ab", two);
  append_bytes("", two);
  EXPECT_EQ(two, std::string("\x02\0\0\0ab\0\0\0\0", 10));
  EXPECT_EQ(elements(two, 2), "ab||");
  EXPECT_EQ(elements(two, 1),
            "input `x` must hold 1 elements, each behind its 4-byte length; 1 were found and 4 bytes are left");
  EXPECT_EQ(elements(two.substr(0, 8), 2),
            "input `x` must hold 2 elements, each behind its 4-byte length; 1 were found and 2 bytes are left");
  EXPECT_EQ(elements(two.substr(0, 5), 2), "element 0 of input `x` has a length of 2 bytes, but 1 follow");
  EXPECT_EQ(elements(std::string("\xff\xff\xff\xff", 4), 1),
            "element 0 of input `x` has a length of 4294967295 bytes, but 0 follow");
}

}  // namespace
}  // namespace manta::server
