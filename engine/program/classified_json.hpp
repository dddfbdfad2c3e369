// A classified image as members of a JSON object: the same on the command line and over HTTP.
#pragma once

#include <array>
#include <vector>

#include "manta/engine.hpp"
#include "program/json_writer.hpp"

namespace manta::program {

template <typename Writer>
void put_predictions(JsonText<Writer>& json, const std::vector<Prediction>& predictions) {
  json.list("predictions", predictions, [&](const Prediction& prediction) {
    json.StartObject();
    json.member("class_id", prediction.class_id);
    json.member("class_name", prediction.class_name);
    json.member("confidence", static_cast<double>(prediction.confidence));
    json.EndObject();
  });
}

// Height, width and channels as they were sent.
template <typename Writer>
void put_image_shape(JsonText<Writer>& json, ImageSize size) {
  json.list("image_shape", std::array<int, 3>{size.height, size.width, 3}, [&](int side) { json.Int(side); });
}

}  // namespace manta::program
