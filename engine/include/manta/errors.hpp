// Every error that the engine throws on purpose, with the exit code that the Python side gives it too.
//
// Error                  exit 1
// +-- BadInput           exit 2   a value the caller gave cannot be used
// |   +-- BadImage       exit 2   not an image, cut off, or an unknown format
// |       +-- ImageTooLarge       more pixels than the limit, seen before decoding
// +-- NotFound           exit 3   a file, bundle or variant that does not exist
// +-- BrokenModel        exit 4   not a model of ours, or one that was changed
#pragma once

#include <stdexcept>

#include "manta/export.hpp"

namespace manta {

class MANTA_ENGINE_EXPORT Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
  ~Error() override;
  [[nodiscard]] virtual int exit_code() const noexcept { return 1; }
};

class MANTA_ENGINE_EXPORT BadInput : public Error {
 public:
  using Error::Error;
  ~BadInput() override;
  [[nodiscard]] int exit_code() const noexcept override { return 2; }
};

class MANTA_ENGINE_EXPORT BadImage : public BadInput {
 public:
  using BadInput::BadInput;
  ~BadImage() override;
};

class MANTA_ENGINE_EXPORT ImageTooLarge : public BadImage {
 public:
  using BadImage::BadImage;
  ~ImageTooLarge() override;
};

class MANTA_ENGINE_EXPORT NotFound : public Error {
 public:
  using Error::Error;
  ~NotFound() override;
  [[nodiscard]] int exit_code() const noexcept override { return 3; }
};

class MANTA_ENGINE_EXPORT BrokenModel : public Error {
 public:
  using Error::Error;
  ~BrokenModel() override;
  [[nodiscard]] int exit_code() const noexcept override { return 4; }
};

}  // namespace manta
