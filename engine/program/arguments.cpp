#include "arguments.hpp"

#include <getopt.h>

#include <charconv>
#include <string>

#include "manta/errors.hpp"

namespace manta::program {
namespace {

// What getopt_long returns for the first long option; above all letters.
constexpr int kFirst = 256;

struct GetoptTable {
  std::vector<option> options;
  // A colon in front asks for ':' when a value is missing.
  std::string letters = ":";
};

GetoptTable getopt_table(const std::vector<OptionName>& names) {
  GetoptTable table;
  for (std::size_t i = 0; i < names.size(); ++i) {
    const int has_value = names[i].takes_value ? required_argument : no_argument;
    table.options.push_back({names[i].name, has_value, nullptr, kFirst + static_cast<int>(i)});
    if (names[i].letter == 0) continue;
    table.letters += names[i].letter;
    if (names[i].takes_value) table.letters += ':';
  }
  table.options.push_back({nullptr, 0, nullptr, 0});
  return table;
}

std::size_t index_of(int found, const std::vector<OptionName>& names) {
  if (found >= kFirst) return static_cast<std::size_t>(found - kFirst);
  std::size_t index = 0;
  while (names[index].letter != found) ++index;
  return index;
}

}  // namespace

void read_options(int argc, char** argv, const std::vector<OptionName>& names,
                  const std::function<void(std::size_t, std::string_view)>& given) {
  const GetoptTable table = getopt_table(names);
  opterr = 0;  // the messages are ours
  optind = 1;
  int found = 0;
  while ((found = getopt_long(argc, argv, table.letters.c_str(), table.options.data(), nullptr)) != -1) {
    if (found == ':') throw BadInput(std::string(argv[optind - 1]) + " needs a value (see --help)");
    if (found == '?') throw BadInput("there is no option " + std::string(argv[optind - 1]) + " (see --help)");
    given(index_of(found, names), optarg == nullptr ? "" : optarg);
  }
  if (optind < argc) throw BadInput("unexpected argument '" + std::string(argv[optind]) + "' (see --help)");
}

std::int64_t whole_number(std::string_view option, std::string_view text, std::int64_t least, std::int64_t most) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < least || value > most) {
    throw BadInput(std::string(option) + " must be a whole number from " + std::to_string(least) + " to " +
                   std::to_string(most) + ", not '" + std::string(text) + "'");
  }
  return value;
}

int small_count(std::string_view option, std::string_view text, int most) {
  return static_cast<int>(whole_number(option, text, 1, most));
}

double seconds(std::string_view option, std::string_view text) {
  constexpr double kDay = 86400;
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !(value > 0 && value <= kDay)) {
    throw BadInput(std::string(option) + " must be seconds above 0, not '" + std::string(text) + "'");
  }
  return value;
}

}  // namespace manta::program
