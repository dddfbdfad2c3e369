// RapidJSON, writing to the end of a std::string.
#pragma once

#include <rapidjson/prettywriter.h>
#include <rapidjson/writer.h>

#include <cmath>
#include <string>
#include <string_view>

#include "manta/latency.hpp"

namespace manta::program {

class StringOutput {
 public:
  using Ch = char;
  explicit StringOutput(std::string& text) : text_(text) {}
  void Put(char letter) { text_.push_back(letter); }
  void Flush() {}

 private:
  std::string& text_;
};

template <typename Writer>
class JsonText : public Writer {
 public:
  explicit JsonText(StringOutput& output) : Writer(output) {}

  void text(std::string_view value) { this->String(value.data(), static_cast<rapidjson::SizeType>(value.size())); }
  void key(std::string_view value) { this->Key(value.data(), static_cast<rapidjson::SizeType>(value.size())); }

  // null for what JSON has no number for.
  void number(double value) {
    if (std::isfinite(value)) {
      this->Double(value);
    } else {
      this->Null();
    }
  }

  // A member of an object.
  void member(std::string_view name, std::string_view value) {
    key(name);
    text(value);
  }
  void member(std::string_view name, const char* value) { member(name, std::string_view(value)); }
  void member(std::string_view name, const std::string& value) { member(name, std::string_view(value)); }
  void member(std::string_view name, bool value) {
    key(name);
    this->Bool(value);
  }
  void member(std::string_view name, double value) {
    key(name);
    number(value);
  }
  void member(std::string_view name, std::int64_t value) {
    key(name);
    this->Int64(value);
  }
  void member(std::string_view name, int value) { member(name, std::int64_t{value}); }
  void member(std::string_view name, std::uint64_t value) {
    key(name);
    this->Uint64(value);
  }

  void null_member(std::string_view name) {
    key(name);
    this->Null();
  }

  // A member that is a list: `write(item)` writes one of it.
  template <typename Items, typename Write>
  void list(std::string_view name, const Items& items, Write write) {
    key(name);
    this->StartArray();
    for (const auto& item : items) write(item);
    this->EndArray();
  }
};

using JsonWriter = JsonText<rapidjson::Writer<StringOutput>>;
using PrettyJsonWriter = JsonText<rapidjson::PrettyWriter<StringOutput>>;

// Milliseconds, as members of an object.
template <typename Writer>
void put_latency(JsonText<Writer>& json, const LatencySummary& summary) {
  json.member("mean_ms", summary.mean * 1e3);
  json.member("p50_ms", summary.p50 * 1e3);
  json.member("p99_ms", summary.p99 * 1e3);
}

// The text of one indented JSON object, whose members `write` writes.
template <typename Write>
std::string pretty_object(Write write) {
  std::string text;
  StringOutput output(text);
  PrettyJsonWriter json(output);
  json.SetIndent(' ', 2);
  json.StartObject();
  write(json);
  json.EndObject();
  return text;
}

}  // namespace manta::program
