// The whole server in this process: routes, limits, batches, load and the end. What it has in common with the Python
// service is compared in tests/engine/test_server.py.
#include "server.hpp"

#include <gtest/gtest.h>
#include <simdjson.h>

#include <array>
#include <atomic>
#include <boost/system/system_error.hpp>
#include <chrono>
#include <cstring>
#include <map>
#include <opencv2/imgcodecs.hpp>
#include <string>
#include <thread>
#include <vector>

#include "golden.hpp"
#include "http_client.hpp"

namespace manta::server {
namespace {

using tests::Answer;
using tests::HttpClient;
namespace dom = simdjson::dom;

ServerOptions options_for(const std::string& bundle) {
  ServerOptions options;
  options.model = tests::bundle(bundle);
  options.port = 0;
  options.loops = 2;
  return options;
}

class Running {
 public:
  explicit Running(const ServerOptions& options = options_for("colours")) : server_(options) {
    thread_ = std::thread([this] { server_.run(); });
  }
  ~Running() { stop(); }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  Running(Running&&) = delete;
  Running& operator=(Running&&) = delete;

  void shut_down() { server_.shut_down(); }
  void stop() {
    server_.shut_down();
    if (thread_.joinable()) thread_.join();
  }
  [[nodiscard]] std::uint16_t port() const { return port_; }

 private:
  Server server_;
  std::uint16_t port_ = server_.port();
  std::thread thread_;
};

std::string image(const cv::Scalar& bgr, int side = 8, const char* type = ".png") {
  std::vector<std::uint8_t> bytes;
  cv::imencode(type, cv::Mat(side, side, CV_8UC3, bgr), bytes);
  return {bytes.begin(), bytes.end()};
}

const cv::Scalar kRed(0, 0, 255);
const cv::Scalar kGreen(0, 255, 0);
const cv::Scalar kBlue(255, 0, 0);

std::string base64(const std::string& bytes) {
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t bits = 0;
    for (std::size_t j = 0; j < 3; ++j)
      bits = bits << 8U | (i + j < bytes.size() ? static_cast<std::uint8_t>(bytes[i + j]) : 0U);
    for (std::size_t j = 0; j < 4; ++j) text += i + j <= bytes.size() ? kAlphabet[bits >> (18 - 6 * j) & 0x3FU] : '=';
  }
  return text;
}

std::string json_image(const std::string& bytes, const std::string& more = "") {
  return R"({"image": ")" + base64(bytes) + "\"" + more + "}";
}

std::string first_class(const Answer& answer) {
  dom::parser parser;
  const dom::element document = parser.parse(simdjson::padded_string(answer.body));
  return std::string(document["predictions"].at(0)["class_name"].get_string().value());
}

std::string detail(const Answer& answer) {
  dom::parser parser;
  std::string_view text;
  if (parser.parse(simdjson::padded_string(answer.body))["detail"].get(text) != simdjson::SUCCESS) return answer.body;
  return std::string(text);
}

TEST(Server, AnswersJsonAndRawImages) {
  Running server;
  HttpClient client(server.port());
  const Answer json = client.request("POST", "/predict", "application/json",
                                     json_image(image(kBlue), R"(, "top_k": 1)"), {{"X-Request-ID", "my-id"}});
  EXPECT_EQ(json.status, 200) << json.body;
  EXPECT_EQ(first_class(json), "blue");
  EXPECT_EQ(json.headers.at("x-request-id"), "my-id");
  EXPECT_EQ(json.headers.at("content-type"), "application/json");
  const Answer raw = client.request("POST", "/predict?top_k=2", "image/png", image(kGreen, 40));
  EXPECT_EQ(raw.status, 200) << raw.body;
  EXPECT_EQ(first_class(raw), "green");
  EXPECT_EQ(raw.headers.at("x-request-id").size(), 32U);
}

TEST(Server, LargeImagesTakeTheOtherWay) {
  Running server;
  HttpClient client(server.port());
  const Answer answer = client.request("POST", "/predict", "image/jpeg", image(kRed, 1500, ".jpg"));
  EXPECT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(first_class(answer), "red");
  const Answer bad = client.request("POST", "/predict", "image/jpeg", image(kRed, 1500, ".jpg").substr(0, 5000));
  EXPECT_EQ(bad.status, 400);
}

TEST(Server, ABatchKeepsItsOrder) {
  Running server;
  HttpClient client(server.port());
  const std::string body = R"({"images": [)" + json_image(image(kRed)) + "," + json_image("x") + R"(,{"image": 5},)" +
                           json_image(image(kBlue, 400)) + "]}";
  const Answer answer = client.request("POST", "/predict/batch", "application/json", body);
  ASSERT_EQ(answer.status, 200) << answer.body;
  dom::parser parser;
  const dom::element document = parser.parse(simdjson::padded_string(answer.body));
  const dom::array entries = document["batch_predictions"];
  EXPECT_EQ(entries.at(0)["predictions"].at(0)["class_name"].get_string().value(), "red");
  EXPECT_EQ(entries.at(1)["error"].get_string().value(), "not a JPEG, PNG, BMP or WebP image");
  EXPECT_EQ(entries.at(2)["error"].get_string().value(), "`image` must be base64 text, not a number");
  EXPECT_EQ(entries.at(3)["predictions"].at(0)["class_name"].get_string().value(), "blue");
  const Answer all_bad = client.request("POST", "/predict/batch", "application/json", R"({"images": [{}]})");
  EXPECT_EQ(all_bad.status, 200) << all_bad.body;
}

TEST(Server, ProtocolV2) {
  Running server;
  HttpClient client(server.port());
  EXPECT_EQ(client.request("GET", "/v2/health/live").status, 200);
  EXPECT_EQ(client.request("GET", "/v2/health/ready").status, 200);
  EXPECT_EQ(client.request("GET", "/v2/models/colours/ready").status, 200);
  EXPECT_EQ(client.request("GET", "/v2/models/other").status, 404);
  EXPECT_EQ(client.request("GET", "/v2/models/colours/versions/9").status, 404);
  const Answer metadata = client.request("GET", "/v2/models/colours");
  EXPECT_NE(metadata.body.find(R"("inputs":[{"name":"images","datatype":"UINT8","shape":[-1,8,8,3]}])"),
            std::string::npos)
      << metadata.body;
  std::string data;
  for (int i = 0; i < 8 * 8; ++i) data += (i > 0 ? ",0,255,0" : "0,255,0");
  const std::string tensor = R"({"name": "images", "shape": [1, 8, 8, 3], "datatype": "UINT8", "data": [)";
  const Answer answer = client.request("POST", "/v2/models/colours/infer", "application/json",
                                       R"({"id": "7", "inputs": [)" + tensor + data + "]}]}");
  ASSERT_EQ(answer.status, 200) << answer.body;
  dom::parser parser;
  const dom::element document = parser.parse(simdjson::padded_string(answer.body));
  EXPECT_EQ(document["id"].get_string().value(), "7");
  EXPECT_EQ(document["outputs"].at(0)["shape"].at(1).get_int64().value(), 3);
  EXPECT_GT(document["outputs"].at(0)["data"].at(1).get_double().value(), 0.99);
  EXPECT_EQ(document["parameters"]["request_id"].get_string().value(), answer.headers.at("x-request-id"));
  for (const std::string& wrong :
       {tensor + "1]", tensor + data + ",1]", tensor + "256]", tensor + "1.5]", tensor + "-1]",
        std::string(R"({"name": "images", "shape": [1, 8, 8], "datatype": "UINT8", "data": [])"),
        std::string(R"({"name": "x", "shape": [1, 8, 8, 3], "datatype": "UINT8", "data": [])"),
        std::string(R"({"name": "images", "shape": [1, 8, 8, 3], "datatype": "FP32", "data": [])")}) {
    EXPECT_EQ(client.request("POST", "/v2/models/colours/infer", "application/json", R"({"inputs": [)" + wrong + "}]}")
                  .status,
              400)
        << wrong;
  }
}

TEST(Server, BinaryTensors) {
  Running server;
  HttpClient client(server.port());
  std::string pixels;
  for (int i = 0; i < 8 * 8; ++i) pixels += std::string("\x00\x00\xff", 3);
  const std::string json =
      R"({"parameters": {"binary_data_output": true}, "inputs": [{"name": "images", "shape": [1, 8, 8, 3],)"
      R"( "datatype": "UINT8", "parameters": {"binary_data_size": 192}}]})";
  const std::map<std::string, std::string> size = {{"Inference-Header-Content-Length", std::to_string(json.size())}};
  const std::string path = "/v2/models/colours/infer";
  const Answer answer = client.request("POST", path, "application/octet-stream", json + pixels, size);
  ASSERT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(answer.headers.at("content-type"), "application/octet-stream");
  const std::size_t head = std::stoul(answer.headers.at("inference-header-content-length"));
  ASSERT_EQ(answer.body.size(), head + 3 * sizeof(float));
  std::array<float, 3> probabilities{};
  std::memcpy(probabilities.data(), answer.body.data() + head, sizeof probabilities);
  EXPECT_GT(probabilities[2], 0.99F);
  // The next answer on this connection has no such header.
  EXPECT_EQ(client.request("GET", "/v2/health/live").headers.count("inference-header-content-length"), 0U);
  EXPECT_EQ(client.request("POST", path, "", json + pixels.substr(1), size).status, 400);
  EXPECT_EQ(client.request("POST", path, "", json, size).status, 400);
  EXPECT_EQ(client.request("POST", path, "", json + pixels, {{"Inference-Header-Content-Length", "99999"}}).status,
            400);
}

TEST(Server, FormUploads) {
  Running server;
  HttpClient client(server.port());
  const std::string body = "--b\r\nContent-Disposition: form-data; name=\"top_k\"\r\n\r\n1\r\n--b\r\n" +
                           std::string("Content-Disposition: form-data; name=\"image\"; filename=\"a.png\"\r\n") +
                           "Content-Type: image/png\r\n\r\n" + image(kGreen) + "\r\n--b--\r\n";
  const Answer answer = client.request("POST", "/predict?top_k=3", "multipart/form-data; boundary=b", body);
  ASSERT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(first_class(answer), "green");
  EXPECT_EQ(answer.body.find(R"("red")"), std::string::npos);  // the field's top_k, not the query's
}

std::string zeros(int count) {
  std::string text = "0";
  for (int i = 1; i < count; ++i) text += ",0";
  return text;
}

TEST(Server, ServiceRoutes) {
  Running server;
  HttpClient client(server.port());
  EXPECT_NE(client.request("GET", "/health").body.find(R"("status":"healthy")"), std::string::npos);
  EXPECT_EQ(client.request("GET", "/health/live").body, R"({"alive":true})");
  EXPECT_EQ(client.request("GET", "/health/ready").status, 200);
  EXPECT_NE(client.request("GET", "/model/info").body.find(R"("class_names":["red","green","blue"])"),
            std::string::npos);
  client.request("POST", "/predict", "image/png", image(kRed));
  const std::string metrics = client.request("GET", "/metrics").body;
  EXPECT_NE(metrics.find("manta_http_requests_total{route=\"/predict\",status=\"200\"} 1\n"), std::string::npos)
      << metrics;
  EXPECT_NE(metrics.find("manta_images_total"), std::string::npos);
  EXPECT_EQ(client.request("GET", "/predict").headers.at("allow"), "POST");
  EXPECT_EQ(client.request("POST", "/health").headers.at("allow"), "GET, HEAD");
  EXPECT_EQ(client.request("GET", "/nothing").status, 404);
}

TEST(Server, ParametersOfInferAreChecked) {
  Running server;
  HttpClient client(server.port());
  for (const std::string name : {"user_id", "quality"}) {
    for (const std::string value : {"3", R"("")", "true"}) {
      const std::string body =
          R"({"parameters": {")" + name + R"(": )" + value +
          R"(}, "inputs": [{"name": "images", "datatype": "UINT8", "shape": [1, 8, 8, 3], "data": [)" +
          zeros(8 * 8 * 3) + "]}]}";
      const Answer answer = client.request("POST", "/v2/models/colours/infer", "application/json", body);
      EXPECT_EQ(answer.status, 400) << body;
      EXPECT_EQ(detail(answer), "`" + name + "` must be text of 1 to 256 characters");
    }
  }
}

TEST(Server, BadInputIsToldWhatIsWrong) {
  Running server;
  HttpClient client(server.port());
  const auto post = [&](const std::string& type, const std::string& body) {
    const Answer answer = client.request("POST", "/predict", type, body);
    return std::to_string(answer.status) + " " + detail(answer);
  };
  EXPECT_EQ(post("application/json", ""), "400 the body is empty");
  EXPECT_EQ(post("application/json", "[]"), "400 the body must be a JSON object, not a list");
  EXPECT_EQ(post("application/json", "{}"), "400 the field `image` is missing");
  EXPECT_EQ(post("application/json", R"({"image": "%%%%"})"), "400 `image` is not base64");
  EXPECT_EQ(post("application/json", R"({"image": ""})"), "400 `image` is empty");
  EXPECT_EQ(post("application/json", json_image("x", R"(, "top_k": 0)")),
            "400 `top_k` must be a whole number of 1 or more");
  EXPECT_EQ(post("application/json", json_image("x", R"(, "user_id": "")")),
            "400 `user_id` must be text of 1 to 256 characters");
  EXPECT_EQ(post("image/png", "x"), "400 not a JPEG, PNG, BMP or WebP image");
  EXPECT_EQ(post("text/plain", "x").substr(0, 44), "415 content type text/plain is not supported");
  EXPECT_EQ(post("application/json", R"({"image": "\ud800"})").substr(0, 24), "400 the body is not JSON");
}

TEST(Server, LimitsAreKept) {
  ServerOptions options = options_for("colours");
  options.max_body_bytes = 2000;
  options.engine.max_pixels = 100;
  Running server(options);
  {
    HttpClient client(server.port());
    EXPECT_EQ(client.request("POST", "/predict", "image/png", image(kRed, 11)).status, 413);
    EXPECT_EQ(client.request("POST", "/predict", "image/png", std::string(2001, 'x')).status, 413);
    EXPECT_TRUE(client.is_closed());
  }
  {
    HttpClient client(server.port());  // without a length
    client.send_raw("POST /predict HTTP/1.1\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\nbb8\r\n" +
                    std::string(3000, 'x') + "\r\n0\r\n\r\n");
    EXPECT_EQ(client.receive().status, 413);
  }
  {
    HttpClient client(server.port());
    client.send_raw("GET /health HTTP/1.1\r\nX: " + std::string(20'000, 'x') + "\r\n\r\n");
    EXPECT_EQ(client.receive().status, 431);
  }
  {
    HttpClient client(server.port());
    client.send_raw("this is no HTTP\r\n\r\n");
    EXPECT_EQ(client.receive().status, 400);
    EXPECT_TRUE(client.is_closed());
  }
}

TEST(Server, TooManyValuesInJsonAreNotParsed) {
  Running server;
  HttpClient client(server.port());
  std::string body = R"({"image": [0)";
  for (int i = 0; i < 1'000'001; ++i) body += ",0";
  const Answer answer = client.request("POST", "/predict", "application/json", body + "]}");
  EXPECT_EQ(answer.status, 413);
  EXPECT_EQ(detail(answer), "the JSON holds more than 1,000,000 values; send tensors as binary data");
}

TEST(Server, HttpDetails) {
  Running server;
  const std::string png = image(kRed);
  const std::string head = "POST /predict HTTP/1.1\r\nContent-Type: image/png\r\n";
  {
    HttpClient client(server.port());  // two at once, in order
    const std::string request = head + "Content-Length: " + std::to_string(png.size()) + "\r\n\r\n" + png;
    client.send_raw(request + "GET /health/live HTTP/1.1\r\n\r\n");
    EXPECT_EQ(first_class(client.receive()), "red");
    EXPECT_EQ(client.receive().body, R"({"alive":true})");
  }
  {
    HttpClient client(server.port());
    client.send_raw(head + "Expect: 100-continue\r\nContent-Length: " + std::to_string(png.size()) + "\r\n\r\n");
    EXPECT_EQ(client.receive().status, 100);
    client.send_raw(png);
    EXPECT_EQ(first_class(client.receive()), "red");
  }
  {
    HttpClient client(server.port());  // byte by byte
    for (const char letter : std::string("GET /health/live HTTP/1.0\r\n\r\n")) client.send_raw(std::string(1, letter));
    EXPECT_EQ(client.receive().status, 200);
    EXPECT_TRUE(client.is_closed());
  }
  {
    HttpClient client(server.port());
    client.send_raw("HEAD /health/live HTTP/1.1\r\n\r\nGET /health/live HTTP/1.1\r\n\r\n");
    EXPECT_EQ(client.receive(true).headers.at("content-length"), "14");
    EXPECT_EQ(client.receive().body, R"({"alive":true})");
  }
}

TEST(Server, ASilentRequestEnds) {
  ServerOptions options = options_for("colours");
  options.read_seconds = 0.1;
  Running server(options);
  HttpClient client(server.port());
  client.send_raw("POST /predict HTTP/1.1\r\nContent-Length: 5\r\n\r\nx");
  EXPECT_EQ(client.receive().status, 408);
  EXPECT_TRUE(client.is_closed());
}

struct LoadResult {
  std::atomic<int> right{0};
  std::atomic<int> refused{0};
  std::atomic<int> wrong{0};
};

// Each client sends its own colour and must get it back.
void load(std::uint16_t port, int clients, int requests, LoadResult& result) {
  std::vector<std::thread> threads;
  threads.reserve(static_cast<std::size_t>(clients));
  for (int c = 0; c < clients; ++c) {
    threads.emplace_back([=, &result] {
      const cv::Scalar colours[] = {kRed, kGreen, kBlue};
      const char* names[] = {"red", "green", "blue"};
      HttpClient client(port);
      for (int i = 0; i < requests; ++i) {
        const int which = (c + i) % 3;
        const Answer answer =
            client.request("POST", "/predict", "application/json", json_image(image(colours[which], 8 + i)));
        if (answer.status == 503) {
          ++result.refused;
        } else if (answer.status == 200 && first_class(answer) == names[which]) {
          ++result.right;
        } else {
          ++result.wrong;
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

TEST(Server, ManyClientsEachGetTheirOwnAnswer) {
  Running server;
  LoadResult result;
  load(server.port(), 16, 60, result);
  EXPECT_EQ(result.wrong.load(), 0);
  EXPECT_EQ(result.right.load(), 16 * 60);
}

TEST(Server, RunsInOtherThreadsGiveTheSame) {
  ServerOptions options = options_for("colours");
  options.inline_run_seconds = 0;
  options.inline_pixels = 0;
  Running server(options);
  LoadResult result;
  load(server.port(), 16, 30, result);
  EXPECT_EQ(result.wrong.load(), 0);
  EXPECT_EQ(result.right.load(), 16 * 30);
}

TEST(Server, ShuttingDownAnswersWhatWasAccepted) {
  for (int round = 0; round < 5; ++round) {
    ServerOptions options = options_for("network");
    options.inline_run_seconds = round % 2 == 0 ? 0 : options.inline_run_seconds;
    Running server(options);
    constexpr int kClients = 12;
    std::vector<std::unique_ptr<HttpClient>> clients;
    const std::string png = image(kRed, 200);
    for (int i = 0; i < kClients; ++i) {
      clients.push_back(std::make_unique<HttpClient>(server.port()));
      EXPECT_EQ(clients.back()->request("GET", "/health/live").status, 200);
    }
    for (auto& client : clients) {
      client->send_raw("POST /predict HTTP/1.1\r\nContent-Type: image/png\r\nContent-Length: " +
                       std::to_string(png.size()) + "\r\n\r\n" + png);
    }
    server.shut_down();
    for (auto& client : clients) {
      const Answer answer = client->receive();
      EXPECT_EQ(answer.status, 200);
    }
    server.stop();
    EXPECT_THROW(HttpClient(server.port()), boost::system::system_error);
  }
}

TEST(Server, APortInUseAndABadHostAreTold) {
  Running server;
  ServerOptions options = options_for("colours");
  options.port = server.port();
  EXPECT_THROW(Server{options}, PortInUse);
  options.host = "nowhere";
  EXPECT_THROW(Server{options}, BadInput);
}

}  // namespace
}  // namespace manta::server
