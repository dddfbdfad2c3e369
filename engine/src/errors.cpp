#include "manta/errors.hpp"

namespace manta {

// Defined here, so that each type has one home and can be caught across the library's border.
Error::~Error() = default;
BadInput::~BadInput() = default;
BadImage::~BadImage() = default;
ImageTooLarge::~ImageTooLarge() = default;
NotFound::~NotFound() = default;
BrokenModel::~BrokenModel() = default;

}  // namespace manta
