#include "api.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <exception>
#include <iostream>
#include <memory>

#include "problem.hpp"
#include "request_body.hpp"
#include "text.hpp"

namespace manta::server {
namespace {

// A file with more bytes than this for each allowed pixel is decoded elsewhere too: reading it takes time of its own.
constexpr std::size_t kBytesPerPixel = 4;
// A parser keeps the memory of the largest body it has read; above this it is replaced.
constexpr std::size_t kKeptParserBytes = std::size_t{1} << 20U;

struct RouteEntry {
  std::string_view path;
  Route route;
  std::string_view method;
};

constexpr std::array<RouteEntry, 7> kTable = {{
    {"/predict", Route::predict, "POST"},
    {"/predict/batch", Route::predict_batch, "POST"},
    {"/health", Route::health, "GET"},
    {"/health/live", Route::health, "GET"},
    {"/health/ready", Route::health, "GET"},
    {"/model/info", Route::model_info, "GET"},
    {"/metrics", Route::metrics, "GET"},
}};

// What the header says; none for a broken image or one above the limit, which is refused before any pixel is decoded.
std::int64_t pixels(ByteView encoded, std::int64_t most) {
  try {
    const ImageHeader header = read_header(encoded);
    return header.width > most / header.height ? 0 : header.width * header.height;
  } catch (const BadImage&) {
    return 0;
  }
}

// What there is to decode, in pixels.
std::int64_t pixels_to_decode(const Exchange& exchange, std::int64_t max_pixels) {
  std::int64_t sum = 0;
  for (const Row& row : exchange.rows) {
    if (!row.error.empty()) continue;
    sum += std::max(pixels(row.encoded, max_pixels), static_cast<std::int64_t>(row.encoded.size() / kBytesPerPixel));
  }
  return sum;
}

// Bytes that decoding takes beside the request's body: what base64 held, and the model's input.
std::size_t bytes_to_decode(const Exchange& exchange, std::size_t input_bytes) {
  std::size_t sum = exchange.rows.size() * input_bytes;
  for (std::size_t i = 0; i < exchange.rows.size(); ++i) {
    const Row& row = exchange.rows[i];
    const bool is_of_base64 = row.encoded.data() == ByteView(exchange.decoded_bodies[i]).data();
    if (is_of_base64) sum += row.encoded.size();
  }
  return sum;
}

// Counts pixels as waiting for their thread, from when it is made until it ends.
class WaitingPixels {
 public:
  WaitingPixels(std::atomic<std::int64_t>& sum, std::int64_t pixels, std::int64_t most) : sum_(sum), pixels_(pixels) {
    const auto before = sum_.fetch_add(pixels, std::memory_order_relaxed);
    if (before + pixels <= most) return;
    sum_.fetch_sub(pixels, std::memory_order_relaxed);
    throw HttpError(503, kTooMuchAtOnce);
  }
  ~WaitingPixels() { sum_.fetch_sub(pixels_, std::memory_order_relaxed); }
  WaitingPixels(const WaitingPixels&) = delete;
  WaitingPixels& operator=(const WaitingPixels&) = delete;
  WaitingPixels(WaitingPixels&&) = delete;
  WaitingPixels& operator=(WaitingPixels&&) = delete;

 private:
  std::atomic<std::int64_t>& sum_;
  std::int64_t pixels_;
};

}  // namespace

Api::Api(const Engine& engine, Batcher& batcher, Metrics& metrics, ApiLimits limits, std::string model_version,
         Hooks hooks)
    : engine_(engine),
      batcher_(batcher),
      metrics_(metrics),
      limits_(limits),
      hooks_(std::move(hooks)),
      answers_(engine, std::move(model_version)),
      v2_(engine, answers_.model_version(), limits.max_images, limits.max_body_bytes) {}

template <typename Step>
void Api::guarded(Exchange& exchange, Step step) {
  try {
    step();
  } catch (const HttpError& error) {
    write_problem(exchange, error);
    exchange.send();
  } catch (const std::exception& error) {
    std::cerr << "request " << exchange.request.id << " failed: " << error.what() << std::endl;
    write_problem(exchange, 500, "internal error");
    exchange.send();
  }
}

void Api::handle(Exchange& exchange) {
  exchange.started = Clock::now();
  exchange.route = Route::other;
  exchange.response.status = 200;
  exchange.response.content_type = "application/json";
  exchange.response.body.clear();
  exchange.response.allow.clear();
  exchange.response.json_bytes.reset();
  exchange.response.content_encoding = {};
  exchange.rows.clear();
  guarded(exchange, [&] { dispatch(exchange); });
  // Whatever was read is copied by now.
  if (parser_.capacity() > kKeptParserBytes) parser_ = simdjson::dom::parser();
}

void Api::dispatch(Exchange& exchange) {
  const std::string& path = exchange.request.path;
  if (ProtocolV2::owns(path)) {
    dispatch_v2(exchange);
    return;
  }
  const auto* entry = std::find_if(kTable.begin(), kTable.end(), [&](const auto& each) { return each.path == path; });
  if (entry == kTable.end()) refuse_route(path);
  exchange.route = entry->route;
  check_method(exchange.request, entry->method);
  if (entry->route == Route::predict || entry->route == Route::predict_batch) {
    read_and_classify(exchange);
  } else {
    tell(exchange);
  }
}

void Api::dispatch_v2(Exchange& exchange) {
  exchange.route = Route::v2;
  switch (v2_.handle(exchange, metrics_, parser_)) {
    case ProtocolV2::Next::send:
      exchange.send();
      break;
    case ProtocolV2::Next::decode:
      classify(exchange);
      break;
    case ProtocolV2::Next::run:
      take_memory(exchange, exchange.pixels.size());
      submit(exchange);
      break;
  }
}

// What the server and its model are.
void Api::tell(Exchange& exchange) const {
  Response& response = exchange.response;
  if (exchange.route == Route::model_info) {
    answers_.model_info(exchange, hooks_.queued());
  } else if (exchange.route == Route::metrics) {
    response.content_type = "text/plain; version=0.0.4; charset=utf-8";
    response.body = metrics_.text(engine_, answers_.model_version(), hooks_.queued());
  } else if (exchange.request.path == "/health/live") {
    response.body = R"({"alive":true})";
  } else if (exchange.request.path == "/health/ready") {
    answers_.ready(exchange);
  } else {
    answers_.health(exchange);
  }
  exchange.send();
}

void Api::read_and_classify(Exchange& exchange) {
  if (exchange.route == Route::predict) {
    read_predict(exchange, parser_);
  } else {
    read_batch(exchange, parser_, limits_.max_images);
  }
  check_caller(exchange.request, answers_.model_version());
  classify(exchange);
}

void Api::classify(Exchange& exchange) {
  take_memory(exchange, bytes_to_decode(exchange, engine_.input_bytes()));
  exchange.pixels.resize(exchange.rows.size() * engine_.input_bytes());
  const std::int64_t pixels = pixels_to_decode(exchange, engine_.options().max_pixels);
  if (pixels <= limits_.inline_pixels) {
    if (decode(exchange, Clock::time_point::max())) submit(exchange);
    return;
  }
  if (pixels > limits_.max_pixels_in_all) {
    throw HttpError(413, "the images have " + grouped(static_cast<std::size_t>(pixels)) +
                             " pixels together, the limit is " +
                             grouped(static_cast<std::size_t>(limits_.max_pixels_in_all)));
  }
  // Shared, because what is called must be copyable.
  auto waiting = std::make_shared<WaitingPixels>(metrics_.waiting_pixels, pixels, limits_.max_pixels_in_all);
  hooks_.decode_elsewhere([this, &exchange, waiting = std::move(waiting)]() mutable {
    const bool is_done = decode(exchange, exchange.started + limits_.queue_time);
    waiting.reset();
    hooks_.later([this, &exchange, is_done] {
      guarded(exchange, [&] {
        if (!is_done) throw HttpError(504, "the images were not decoded in time");
        submit(exchange);
      });
    });
  });
}

// Beside the body; what does not fit beside other requests' is refused.
void Api::take_memory(Exchange& exchange, std::size_t bytes) const {
  const std::size_t all = exchange.request.body.size() + bytes;
  if (all > limits_.max_bytes_in_all) {
    throw HttpError(413, "the request takes " + grouped(all) + " bytes of memory, the limit is " +
                             grouped(limits_.max_bytes_in_all));
  }
  if (!exchange.charge(bytes)) throw HttpError(503, kTooMuchAtOnce);
}

// Called from threads for decoding too. False when it was not done in time, or nobody waits for it any more.
bool Api::decode(Exchange& exchange, Clock::time_point until) const {
  const std::size_t bytes = engine_.input_bytes();
  exchange.count = 0;
  for (Row& row : exchange.rows) {
    if (!row.error.empty()) continue;
    if (hooks_.ended() || Clock::now() > until) return false;
    try {
      row.size = engine_.preprocess(row.encoded, &exchange.pixels[exchange.count * bytes]);
      row.slot = exchange.count++;
    } catch (const ImageTooLarge& error) {
      row.error = error.what();
      row.error_status = 413;
    } catch (const BadInput& error) {
      row.error = error.what();
      row.error_status = 400;
    } catch (const std::exception& error) {  // no memory, say: this image's misfortune alone
      std::cerr << "request " << exchange.request.id << ": an image cannot be decoded: " << error.what() << std::endl;
      row.error = "internal error";
      row.error_status = 500;
    }
  }
  return true;
}

void Api::submit(Exchange& exchange) {
  if (exchange.route == Route::v2_infer) ProtocolV2::check_rows(exchange);
  if (exchange.route == Route::predict && !exchange.rows[0].error.empty()) {
    throw HttpError(exchange.rows[0].error_status, exchange.rows[0].error);
  }
  if (exchange.count == 0) {  // a batch of bad images only
    answer(exchange);
    return;
  }
  exchange.rows_of_probabilities.resize(exchange.count * engine_.classes());
  exchange.images = exchange.pixels.data();
  exchange.probabilities = exchange.rows_of_probabilities.data();
  if (!batcher_.submit(exchange)) throw HttpError(503, "too many images wait already, try again later");
}

void Api::on_batch(Exchange& exchange, BatchOutcome outcome) {
  guarded(exchange, [&] {
    if (outcome == BatchOutcome::timed_out) throw HttpError(504, "the model was not free in time");
    if (outcome == BatchOutcome::failed) throw HttpError(500, "internal error");
    answer(exchange);
  });
}

void Api::answer(Exchange& exchange) {
  switch (exchange.route) {
    case Route::predict:
      answers_.predict(exchange);
      break;
    case Route::predict_batch:
      answers_.predict_batch(exchange);
      break;
    default:
      v2_.answer(exchange);
  }
  exchange.send();
}

}  // namespace manta::server
