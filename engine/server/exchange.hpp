// A request and its answer, without HTTP's wire format and without sockets.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
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
  std::string_view accept_encoding;
  // Inference-Header-Content-Length: bytes of JSON in front of binary tensors.
  std::optional<std::string_view> json_bytes;
  // X-User-Id and X-Model-Version.
  std::optional<std::string_view> user_id;
  std::optional<std::string_view> model_version;
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
  // Bytes of JSON in `body`, when binary tensors follow.
  std::optional<std::size_t> json_bytes;
  // How `body` is encoded; empty when it is as it is.
  std::string_view content_encoding;
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

// Protocol v2: what the client said of its answer.
struct V2Wanted {
  // The client's own id of the request; empty for none.
  std::string id;
  // Behind the JSON rather than in it.
  bool binary = false;
  // As text "value:index:label" for this many classes; none: the probabilities themselves.
  std::optional<int> classes;
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
  // The body without its Content-Encoding, where it had one.
  std::string inflated_body;
  std::vector<std::uint8_t> pixels;
  std::vector<float> rows_of_probabilities;
  V2Wanted v2;

  // `number` images to come, none of them read yet.
  void set_rows(std::size_t number) {
    rows.assign(number, Row());
    if (decoded_bodies.size() < number) decoded_bodies.resize(number);
  }

  // Counts memory that the request takes beside its body, until it is answered. False when it is too much of all
  // requests together.
  [[nodiscard]] virtual bool charge(std::size_t bytes) = 0;

  // Sends `response`, once, from the thread of the exchange's event loop.
  virtual void send() = 0;
};

}  // namespace manta::server
