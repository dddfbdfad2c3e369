#include "text.hpp"

#include <gtest/gtest.h>

namespace manta::server {
namespace {

TEST(Text, IsTrimmedAndMadeSmall) {
  EXPECT_EQ(trimmed(" \ta b\t "), "a b");
  EXPECT_EQ(trimmed(" "), "");
  EXPECT_EQ(lower("Image/PNG"), "image/png");
}

TEST(Text, LongNumbersAreGrouped) {
  EXPECT_EQ(grouped(0), "0");
  EXPECT_EQ(grouped(999), "999");
  EXPECT_EQ(grouped(65'536), "65,536");
  EXPECT_EQ(grouped(12'345'678), "12,345,678");
}

TEST(Text, IsCutBetweenLetters) {
  EXPECT_EQ(first_letters("äöü", 2), "äö");
  EXPECT_EQ(first_letters("abc", 9), "abc");
  EXPECT_EQ(first_letters("abc", 0), "");
}

TEST(Text, IsQuotedAsPythonDoes) {
  EXPECT_EQ(quoted("abc", 2), "'ab'");
  EXPECT_EQ(quoted("it's", 9), "\"it's\"");
  EXPECT_EQ(quoted("it's \"it\"", 9), R"('it\'s "it"')");
  EXPECT_EQ(quoted("\\", 9), R"('\\')");
  EXPECT_EQ(quoted("\xff", 9), "'\xEF\xBF\xBD'");
}

}  // namespace
}  // namespace manta::server
