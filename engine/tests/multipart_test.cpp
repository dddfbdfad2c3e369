#include "multipart.hpp"

#include <gtest/gtest.h>

#include <string>

#include "problem.hpp"

namespace manta::server {
namespace {

const std::string kType = "multipart/form-data; boundary=XX";

std::string part(const std::string& disposition, const std::string& content) {
  return "--XX\r\nContent-Disposition: form-data; " + disposition + "\r\n\r\n" + content + "\r\n";
}

TEST(Multipart, FilesAndFields) {
  const std::string body = part(R"(name="image"; filename="a.png")", "bytes\r\n--X \r\n") +
                           part(R"(name="top_k")", "3") + part(R"(name="empty")", "") + part(R"(name="top_k")", "4") +
                           "--XX--\r\nepilogue";
  const Form form = read_form(kType, body);
  ASSERT_EQ(form.files.size(), 1U);
  EXPECT_EQ(form.files[0], "bytes\r\n--X \r\n");
  EXPECT_EQ(form.fields.at("top_k"), "4");
  EXPECT_EQ(form.fields.at("empty"), "");
}

TEST(Multipart, WhatLooksLikeABoundaryWithinContentIsContent) {
  const std::string content = "\r\n--XXX\r\n--XX-\r\n--XXa";
  const std::string body = part(R"(name="f"; filename="")", content) + "--XX--";
  const Form form = read_form(kType, body);
  ASSERT_EQ(form.files.size(), 1U);
  EXPECT_EQ(form.files[0], content);
}

TEST(Multipart, HeadersInAnyCaseAndManyOfThem) {
  const std::string body =
      "\r\n--XX\r\nContent-Type: image/png\r\ncontent-DISPOSITION: form-data; NAME=\"f\"; FileName=\"x\"\r\nX: "
      "y\r\n\r\n"
      "data\r\n--XX--";
  EXPECT_EQ(read_form(kType, body).files.at(0), "data");
}

TEST(Multipart, Parameters) {
  EXPECT_EQ(header_parameter(R"(form-data; name="a \"b\" \\ c;d"; x=y )", "name"), R"(a "b" \ c;d)");
  EXPECT_EQ(header_parameter(R"(form-data; name="a"; x = y )", "x"), "y");
  EXPECT_EQ(header_parameter("form-data; name", "name"), std::nullopt);
  EXPECT_EQ(header_parameter("form-data; filename*=UTF-8''x", "filename"), std::nullopt);
  EXPECT_EQ(header_parameter("", "name"), std::nullopt);
  EXPECT_EQ(header_parameter(R"(f; name="\)", "name"), R"("\)");
}

TEST(Multipart, APartWithoutAnEndDoesNotCount) {
  const std::string whole = part(R"(name="f"; filename="x")", "data") + "--XX--";
  EXPECT_EQ(read_form(kType, whole).files.size(), 1U);
  for (std::size_t length = 4; length < whole.size(); ++length) {
    EXPECT_TRUE(read_form(kType, whole.substr(0, length)).files.empty()) << length;
  }
}

TEST(Multipart, WhatIsNoneIsRefused) {
  const std::string file = part(R"(name="f"; filename="x")", "data");
  const auto refused = [](const std::string& type, const std::string& body) {
    try {
      static_cast<void>(read_form(type, body));
    } catch (const HttpError& error) {
      return error.status() == 400;
    }
    return false;
  };
  EXPECT_FALSE(refused(kType, file + "--XX--"));
  EXPECT_TRUE(refused("multipart/form-data", file + "--XX--"));
  EXPECT_TRUE(refused("multipart/form-data; boundary=", file + "--XX--"));
  EXPECT_TRUE(refused("multipart/form-data; boundary=YY", file + "--XX--"));
  EXPECT_TRUE(refused(kType, part("filename=\"x\"", "no name") + "--XX--"));
  EXPECT_TRUE(refused(kType, "--XX\r\nno colon\r\n\r\ndata\r\n--XX--"));
  EXPECT_TRUE(refused(kType, file + file + file + "--XX--"));
  EXPECT_TRUE(refused(kType, part("name=\"x\"", std::string((1U << 20U) + 1, 'x')) + "--XX--"));
  std::string many;
  for (int i = 0; i < 1001; ++i) many += part("name=\"x\"", "");
  EXPECT_TRUE(refused(kType, many + "--XX--"));
}

}  // namespace
}  // namespace manta::server
