// A request and its answer, without HTTP's wire format and without sockets.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "batcher.hpp"
#include "manta/bytes.hpp"
#include "manta/image.hpp"
#include "metrics.hpp"

namespace manta::server {

using Clock = std::chrono::steady_clock;

struct Request {
  // GET for HEAD too: the body is left out when the answer is sent.
  std::string_view method;
  // As it was sent, before the question mark, and percent-decoded.
  std::string path;
  std::string_view query;
  std::string_view content_type;
  std::string_view content_encoding;
  // Has a binary part that only the binary tensor extension can read.
  bool has_binary_tensors = false;
  // With simdjson's padding allocated behind it.
  std::string_view body;
  std::string id;
};

struct Response {
  int status = 200;
  std::string_view content_type = "application/json";
  std::string body;
  // Methods, with 405.
  std::string allow;
};

// One image that was asked for.
struct Row {
  // Encoded. Points into the request's body or into `Exchange::decoded_bodies`.
  ByteView encoded;
  ImageSize size;
  // Which image of the batch entry it is; not set when there is an error.
  std::size_t slot = 0;
  // Why it could not be read, and the HTTP status of that; empty when it could.
  std::string error;
  int error_status = 0;
};

class Exchange : public BatchEntry {
 public:
  Request request;
  Response response;
  Route route = Route::other;
  Clock::time_point started;
  int top_k = 0;
  std::vector<Row> rows;
  // What base64 held, one for each row; memory is used again.
  std::vector<std::string> decoded_bodies;
  std::vector<std::uint8_t> pixels;
  std::vector<float> rows_of_probabilities;
  // Protocol v2: the client's own id.
  std::string v2_id;

  // Sends `response`, once, from the thread of the exchange's event loop.
  virtual void send() = 0;
};

}  // namespace manta::server
