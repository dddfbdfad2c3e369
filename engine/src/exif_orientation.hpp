#pragma once

#include "manta/bytes.hpp"
#include "manta/image.hpp"

namespace manta {

// The EXIF orientation of a whole JPEG or WebP image, 1 to 8; 1 when it says none.
//
// OpenCV before 4.12 knows nothing of WebP's, and finds that of a JPEG only where no other application segment (XMP,
// say) stands before it.
[[nodiscard]] int exif_orientation(ByteView data, ImageFormat format) noexcept;

}  // namespace manta
