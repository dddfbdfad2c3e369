// RapidJSON, writing to the end of a std::string.
#pragma once

#include <rapidjson/writer.h>

#include <string>
#include <string_view>

namespace manta::server {

class StringOutput {
 public:
  using Ch = char;
  explicit StringOutput(std::string& text) : text_(text) {}
  void Put(char letter) { text_.push_back(letter); }
  void Flush() {}

 private:
  std::string& text_;
};

class JsonWriter : public rapidjson::Writer<StringOutput> {
 public:
  explicit JsonWriter(StringOutput& output) : rapidjson::Writer<StringOutput>(output) {}
  void text(std::string_view value) { String(value.data(), static_cast<rapidjson::SizeType>(value.size())); }
  void key(std::string_view value) { Key(value.data(), static_cast<rapidjson::SizeType>(value.size())); }
};

}  // namespace manta::server
