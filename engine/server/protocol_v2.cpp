#include "protocol_v2.hpp"

#include "content_coding.hpp"
#include "problem.hpp"
#include "request_body.hpp"
#include "text.hpp"
#include "v2_metadata.hpp"
#include "v2_request.hpp"
#include "v2_response.hpp"

namespace manta::server {
namespace {

namespace dom = simdjson::dom;

// Of names that a client sent, in messages.
constexpr std::size_t kShownModel = 200;
constexpr std::size_t kShownVersion = 100;
// Smaller answers fit into one packet anyway.
constexpr std::size_t kWorthIt = 1024;

}  // namespace

ProtocolV2::ProtocolV2(const Engine& engine, std::string model_version, std::size_t max_images,
                       std::size_t max_body_bytes)
    : engine_(engine),
      model_version_(std::move(model_version)),
      max_images_(max_images),
      max_body_bytes_(max_body_bytes) {}

bool ProtocolV2::owns(std::string_view path) {
  return path == "/v2" || path.substr(0, 4) == "/v2/";
}

ProtocolV2::Next ProtocolV2::handle(Exchange& exchange, const Metrics& metrics, dom::parser& parser) const {
  const std::string& path = exchange.request.path;
  const auto target = find_v2_route(path);
  if (!target) refuse_route(path);
  exchange.route = target->call == V2Call::infer ? Route::v2_infer : Route::v2;
  check_method(exchange.request, target->method);
  check_model(*target);
  if (target->call == V2Call::infer) return infer(exchange, parser);
  exchange.response.body = document(*target, exchange, metrics, parser);
  return Next::send;
}

void ProtocolV2::check_model(const V2Target& target) const {
  if (target.model.empty() || target.call == V2Call::load || target.call == V2Call::unload) return;
  const std::string& name = engine_.model().name;
  if (target.model != name) {
    throw HttpError(404, "there is no model " + quoted(target.model, kShownModel) + "; the one deployed is " +
                             quoted(name, name.size()));
  }
  if (target.version && *target.version != model_version_) {
    throw HttpError(404, "model " + quoted(name, name.size()) + " has no version " +
                             quoted(*target.version, kShownVersion) + " deployed (it has: " + model_version_ + ")");
  }
}

// The request's body becomes what it is without its Content-Encoding.
void ProtocolV2::decode_content(Exchange& exchange) const {
  Request& request = exchange.request;
  const auto coding = content_coding(request.content_encoding);
  if (!coding) return;
  exchange.inflated_body = inflated(request.body, *coding, max_body_bytes_);
  if (!exchange.charge(exchange.inflated_body.size())) throw HttpError(503, kTooMuchAtOnce);
  exchange.inflated_body.reserve(exchange.inflated_body.size() + simdjson::SIMDJSON_PADDING);
  request.body = exchange.inflated_body;
}

ProtocolV2::Next ProtocolV2::infer(Exchange& exchange, dom::parser& parser) const {
  decode_content(exchange);
  read_infer(exchange, parser, engine_.model(), max_images_);
  check_caller(exchange.request, model_version_);
  return exchange.rows.empty() ? Next::run : Next::decode;
}

std::string ProtocolV2::document(const V2Target& target, Exchange& exchange, const Metrics& metrics,
                                 dom::parser& parser) const {
  switch (target.call) {
    case V2Call::server:
      return server_metadata();
    case V2Call::live:
      return R"({"live":true})";
    case V2Call::ready:
      return R"({"ready":true})";
    case V2Call::model_ready:
      return model_readiness(engine_);
    case V2Call::metadata:
      return model_metadata(engine_, model_version_);
    case V2Call::config:
      return model_config(engine_, model_version_, max_images_);
    case V2Call::statistics:
    case V2Call::all_statistics:
      return model_statistics(engine_, model_version_, metrics.batches.totals());
    case V2Call::index:
      return index(exchange, parser);
    case V2Call::load:
      throw HttpError(403, "models are not loaded over this protocol: use `manta deploy NAME/VERSION`");
    case V2Call::unload:
      throw HttpError(403, "models are not unloaded over this protocol: use `manta undeploy VERSION`");
    case V2Call::infer:
      break;
  }
  return "";
}

std::string ProtocolV2::index(Exchange& exchange, dom::parser& parser) const {
  decode_content(exchange);
  if (!exchange.request.body.empty()) {
    const auto ready = field(read_object(exchange.request.body, parser), "ready");
    if (ready && !ready->is_bool()) throw HttpError(400, "`ready` must be true or false");
  }
  return repository_index(engine_, model_version_);
}

void ProtocolV2::check_rows(const Exchange& exchange) {
  for (std::size_t i = 0; i < exchange.rows.size(); ++i) {
    const Row& row = exchange.rows[i];
    if (!row.error.empty()) {
      throw HttpError(row.error_status, "`encoded`[" + std::to_string(i) + "]: " + row.error);
    }
  }
}

void ProtocolV2::answer(Exchange& exchange) const {
  write_infer_answer(exchange, engine_, model_version_);
  const auto coding = accepted_coding(exchange.request.accept_encoding);
  if (!coding || exchange.response.body.size() < kWorthIt) return;
  exchange.response.body = compressed(exchange.response.body, *coding);
  exchange.response.content_encoding = name(*coding);
}

}  // namespace manta::server
