// manta-engine-server: the HTTP API of a model.
#include "program/main.hpp"

#include <csignal>
#include <iostream>
#include <opencv2/core.hpp>

#include "server.hpp"

namespace manta::server {
namespace {

int serve(const ServerOptions& options) {
  if (program::tells_of_itself("manta-engine-server", options.help, options.version, usage())) return 0;
  std::signal(SIGPIPE, SIG_IGN);  // a log that nobody reads any more must not end the service
  cv::setNumThreads(1);           // requests are what runs side by side
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
  return manta::program::run([&] { return manta::server::serve(manta::server::parse(argc, argv)); });
}
