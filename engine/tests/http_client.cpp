#include "http_client.hpp"

#include <algorithm>
#include <boost/asio/write.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cctype>

namespace manta::tests {

namespace asio = boost::asio;
namespace http = boost::beast::http;

HttpClient::HttpClient(std::uint16_t port) : socket_(loop_) {
  socket_.connect({asio::ip::address_v4::loopback(), port});
}

Answer HttpClient::request(const std::string& method, const std::string& target, const std::string& content_type,
                           const std::string& body, const std::map<std::string, std::string>& headers) {
  std::string text = method + ' ' + target + " HTTP/1.1\r\nHost: localhost\r\n";
  if (!content_type.empty()) text += "Content-Type: " + content_type + "\r\n";
  for (const auto& [name, value] : headers) text.append(name).append(": ").append(value).append("\r\n");
  if (method == "POST") text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
  send_raw(text + "\r\n" + body);
  return receive(method == "HEAD");
}

void HttpClient::send_raw(const std::string& bytes) {
  asio::write(socket_, asio::buffer(bytes));
}

Answer HttpClient::receive(bool without_body) {
  http::response_parser<http::string_body> parser;
  parser.body_limit(boost::none);
  parser.skip(without_body);
  http::read(socket_, buffer_, parser);
  Answer answer;
  answer.status = static_cast<int>(parser.get().result_int());
  answer.body = parser.get().body();
  for (const auto& field : parser.get()) {
    std::string name(field.name_string().data(), field.name_string().size());
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
    answer.headers[name] = std::string(field.value().data(), field.value().size());
  }
  return answer;
}

bool HttpClient::is_closed() {
  boost::system::error_code error;
  char byte = 0;
  return socket_.read_some(asio::buffer(&byte, 1), error) == 0 && error;
}

}  // namespace manta::tests
