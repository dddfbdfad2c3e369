#include "api.hpp"

#include <algorithm>
#include <array>
#include <exception>
#include <iostream>
#include <limits>

#include "problem.hpp"
#include "request_body.hpp"

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

// What the header says; nothing for a broken one, which is refused before any pixel is decoded.
std::int64_t pixels(ByteView encoded) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  try {
    const ImageHeader header = read_header(encoded);
    return header.width > kMost / header.height ? kMost : header.width * header.height;
  } catch (const BadImage&) {
    return 0;
  }
}

bool is_small(const Exchange& exchange, std::int64_t most_pixels) {
  std::int64_t left = most_pixels;
  for (const Row& row : exchange.rows) {
    if (!row.error.empty()) continue;
    left -= std::max(pixels(row.encoded), static_cast<std::int64_t>(row.encoded.size() / kBytesPerPixel));
    if (left < 0) return false;
  }
  return true;
}

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
  exchange.pixels.resize(exchange.rows.size() * engine_.input_bytes());
  if (is_small(exchange, limits_.inline_pixels)) {
    decode(exchange);
    submit(exchange);
    return;
  }
  hooks_.decode_elsewhere([this, &exchange] {
    decode(exchange);
    hooks_.later([this, &exchange] { guarded(exchange, [&] { submit(exchange); }); });
  });
}

// Called from threads for decoding too.
void Api::decode(Exchange& exchange) const {
  const std::size_t bytes = engine_.input_bytes();
  exchange.count = 0;
  for (Row& row : exchange.rows) {
    if (hooks_.ended()) return;
    if (!row.error.empty()) continue;
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
