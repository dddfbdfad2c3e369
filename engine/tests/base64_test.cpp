#include "base64.hpp"

#include <gtest/gtest.h>

#include <string>

namespace manta::server {
namespace {

TEST(Base64, DecodesEveryLengthOfPadding) {
  std::string bytes;
  EXPECT_TRUE(decode_base64("", bytes));
  EXPECT_EQ(bytes, "");
  EXPECT_TRUE(decode_base64("Zg==", bytes));
  EXPECT_EQ(bytes, "f");
  EXPECT_TRUE(decode_base64("Zm8=", bytes));
  EXPECT_EQ(bytes, "fo");
  EXPECT_TRUE(decode_base64("Zm9vYmFy", bytes));
  EXPECT_EQ(bytes, "foobar");
  EXPECT_TRUE(decode_base64("+/+/", bytes));
  EXPECT_EQ(bytes, "\xfb\xff\xbf");
}

TEST(Base64, RefusesWhatIsNot) {
  std::string bytes;
  for (const char* text : {"A", "AB", "ABC", "ABCDE", "====", "A===", "AB=C", "=ABC", "AB==AB==", "AB-_", "AB\nC",
                           "ABC\xc3", "AAAA=AAA", "AA A"}) {
    EXPECT_FALSE(decode_base64(text, bytes)) << text;
  }
}

TEST(Base64, EveryByteThatIsNoLetterIsRefusedInEveryPlace) {
  const std::string alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  for (int byte = 0; byte < 256; ++byte) {
    const char letter = static_cast<char>(byte);
    for (std::size_t place = 0; place < 4; ++place) {
      std::string text = "AAAAAAAA";
      text[place] = letter;
      EXPECT_EQ(decode_base64(text, bytes), alphabet.find(letter) != std::string::npos) << byte;
    }
  }
}

}  // namespace
}  // namespace manta::server
