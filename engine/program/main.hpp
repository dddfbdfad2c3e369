// What the programs have in common: --help, --version, and errors as one line and an exit code.
#pragma once

#include <functional>
#include <string_view>

namespace manta::program {

// Runs `body` and returns its exit code. An error becomes one line on stderr and its own code, 1 for those that are not
// the engine's; so does output that could not be written. OpenCV is kept quiet: what is wrong with an image is in the
// error already.
[[nodiscard]] int run(const std::function<int()>& body) noexcept;

// Answers --help or --version on stdout. False when neither was asked for.
[[nodiscard]] bool tells_of_itself(std::string_view name, bool help, bool version, std::string_view usage);

}  // namespace manta::program
