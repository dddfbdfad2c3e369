// manta-engine-server: the HTTP API of a model.
#include <exception>
#include <iostream>
#include <opencv2/core.hpp>
#include <opencv2/core/utils/logger.hpp>

#include "manta/version.hpp"
#include "server.hpp"

namespace manta::server {
namespace {

int run(const ServerOptions& options) {
  if (options.help) {
    std::cout << usage();
    return 0;
  }
  if (options.version) {
    std::cout << "manta-engine-server " << kVersion << '\n';
    return 0;
  }
  cv::setNumThreads(1);  // requests are what runs side by side
  // OpenCV logs every bad image on stderr; the answer says it already.
  cv::utils::logging::setLogLevel(cv::utils::logging::LOG_LEVEL_SILENT);
  Server server(options);
  if (!server.engine().provider_message().empty()) std::cerr << server.engine().provider_message() << '\n';
  std::cout << server.engine().model().name << " on " << server.engine().provider() << ", " << server.loops()
            << " event loops: http://" << options.host << ':' << server.port() << std::endl;
  server.run();
  return 0;
}

}  // namespace
}  // namespace manta::server

int main(int argc, char** argv) {
  try {
    return manta::server::run(manta::server::parse(argc, argv));
  } catch (const manta::Error& error) {
    std::cerr << "error: " << error.what() << '\n';
    return error.exit_code();
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << '\n';
    return 1;
  }
}
