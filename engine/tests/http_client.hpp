// A blocking HTTP client for tests.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <cstdint>
#include <map>
#include <string>

namespace manta::tests {

struct Answer {
  int status = 0;
  std::string body;
  // By lower-case name.
  std::map<std::string, std::string> headers;
};

class HttpClient {
 public:
  explicit HttpClient(std::uint16_t port);

  // Throws boost::system::system_error when the connection breaks.
  Answer request(const std::string& method, const std::string& target, const std::string& content_type = "",
                 const std::string& body = "", const std::map<std::string, std::string>& headers = {});
  void send_raw(const std::string& bytes);
  // `without_body`: of HEAD.
  Answer receive(bool without_body = false);
  // Whether the server has closed the connection; waits for that or for a byte.
  bool is_closed();

 private:
  boost::asio::io_context loop_;
  boost::asio::ip::tcp::socket socket_;
  boost::beast::flat_buffer buffer_;
};

}  // namespace manta::tests
