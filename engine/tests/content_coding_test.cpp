#include "content_coding.hpp"

#include <gtest/gtest.h>

#include <string>

#include "problem.hpp"

namespace manta::server {
namespace {

constexpr std::size_t kMost = 1'000'000;

std::string refusal(const std::string& body, ContentCoding coding, std::size_t most = kMost) {
  try {
    static_cast<void>(inflated(body, coding, most));
  } catch (const HttpError& error) {
    return std::to_string(error.status()) + " " + error.detail();
  }
  return "";
}

TEST(ContentCoding, ThereAndBack) {
  std::string text;
  for (int i = 0; i < 50'000; ++i) text += std::to_string(i);
  for (const ContentCoding coding : {ContentCoding::gzip, ContentCoding::deflate}) {
    const std::string small = compressed(text, coding);
    EXPECT_LT(small.size(), text.size() / 2);
    EXPECT_EQ(inflated(small, coding, text.size()), text);
    EXPECT_EQ(inflated(compressed("", coding), coding, 0), "");
    EXPECT_EQ(refusal(small, coding, text.size() - 1).substr(0, 3), "413");
    for (const std::size_t length : {std::size_t{0}, std::size_t{1}, small.size() / 2, small.size() - 1}) {
      EXPECT_EQ(refusal(small.substr(0, length), coding), "400 the " + std::string(name(coding)) + " body is cut off");
    }
    EXPECT_EQ(refusal(small + "x", coding),
              "400 the body goes on after the end of its " + std::string(name(coding)) + " data");
  }
  EXPECT_EQ(refusal(compressed(text, ContentCoding::gzip), ContentCoding::deflate).substr(0, 26),
            "400 the body is not deflat");
}

TEST(ContentCoding, ABombIsNotInflated) {
  // NOLINTNEXTLINE(bugprone-string-constructor): it is meant to be this long
  const std::string bomb = compressed(std::string(100'000'000, '\0'), ContentCoding::gzip);
  EXPECT_LT(bomb.size(), 1'000'000U);
  EXPECT_EQ(refusal(bomb, ContentCoding::gzip).substr(0, 3), "413");
}

TEST(ContentCoding, Headers) {
  EXPECT_EQ(content_coding(""), std::nullopt);
  EXPECT_EQ(content_coding(" Identity"), std::nullopt);
  EXPECT_EQ(content_coding("GZIP"), ContentCoding::gzip);
  EXPECT_THROW(static_cast<void>(content_coding("br")), HttpError);
  EXPECT_EQ(accepted_coding("br, deflate, gzip"), ContentCoding::deflate);
  EXPECT_EQ(accepted_coding("gzip;q=0, deflate ; q=0.5"), ContentCoding::deflate);
  EXPECT_EQ(accepted_coding("gzip; q=0"), std::nullopt);
  EXPECT_EQ(accepted_coding("br"), std::nullopt);
}

}  // namespace
}  // namespace manta::server
