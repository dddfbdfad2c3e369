#pragma once

#include "manta/bytes.hpp"

namespace manta {

// The EXIF orientation of a whole WebP image, 1 to 8; 1 when it says none.
//
// OpenCV reads it itself since 4.12; before, it turns JPEG and PNG images only.
[[nodiscard]] int webp_orientation(ByteView data) noexcept;

}  // namespace manta
