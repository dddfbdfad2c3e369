// Command lines: a table of options, read with getopt_long.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

namespace manta::program {

struct OptionName {
  const char* name;
  // 0 for none.
  char letter;
  bool takes_value;
};

// Calls `given(index in names, value)` for each option on the command line, in order. Throws BadInput for an unknown
// option, a missing value, and for arguments that are no options.
void read_options(int argc, char** argv, const std::vector<OptionName>& names,
                  const std::function<void(std::size_t, std::string_view)>& given);

// One option of a program whose settings are `Settings`.
template <typename Settings>
struct Option {
  OptionName name;
  void (*set)(Settings& settings, std::string_view value);
};

template <typename Settings, std::size_t N>
Settings read_options(int argc, char** argv, const std::array<Option<Settings>, N>& table) {
  std::vector<OptionName> names;
  for (const auto& option : table) names.push_back(option.name);
  Settings settings;
  read_options(argc, argv, names,
               [&](std::size_t index, std::string_view value) { table[index].set(settings, value); });
  return settings;
}

// The values of options. Each throws BadInput, naming the option, for what is outside the limits or no number at all.
[[nodiscard]] std::int64_t whole_number(std::string_view option, std::string_view text, std::int64_t least,
                                        std::int64_t most);
// 1 to `most`.
[[nodiscard]] int small_count(std::string_view option, std::string_view text, int most = 1024);
// Above 0, up to a day.
[[nodiscard]] double seconds(std::string_view option, std::string_view text);

}  // namespace manta::program
