#include "main.hpp"

#include <exception>
#include <iostream>
#include <opencv2/core/utils/logger.hpp>

#include "manta/errors.hpp"
#include "manta/version.hpp"

namespace manta::program {
namespace {

int told(const std::exception& error, int exit_code) noexcept {
  std::cerr << "error: " << error.what() << '\n';
  return exit_code;
}

}  // namespace

int run(const std::function<int()>& body) noexcept {
  try {
    cv::utils::logging::setLogLevel(cv::utils::logging::LOG_LEVEL_SILENT);
    const int exit_code = body();
    if (!std::cout.flush()) throw Error("standard output cannot be written");
    return exit_code;
  } catch (const Error& error) {
    return told(error, error.exit_code());
  } catch (const std::exception& error) {
    return told(error, 1);
  }
}

bool tells_of_itself(std::string_view name, bool help, bool version, std::string_view usage) {
  if (help) {
    std::cout << usage;
  } else if (version) {
    std::cout << name << ' ' << kVersion << '\n';
  }
  return help || version;
}

}  // namespace manta::program
