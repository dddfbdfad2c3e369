// A view of bytes that somebody else owns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace manta {

class ByteView {
 public:
  constexpr ByteView() noexcept = default;
  constexpr ByteView(const std::uint8_t* data, std::size_t size) noexcept : data_(data), size_(size) {}
  ByteView(std::string_view text) noexcept  // NOLINT(google-explicit-constructor)
      : data_(reinterpret_cast<const std::uint8_t*>(text.data())), size_(text.size()) {}
  ByteView(const std::string& text) noexcept
      : ByteView(std::string_view(text)) {}                  // NOLINT(google-explicit-constructor)
  ByteView(const std::vector<std::uint8_t>& bytes) noexcept  // NOLINT(google-explicit-constructor)
      : data_(bytes.data()), size_(bytes.size()) {}

  [[nodiscard]] constexpr const std::uint8_t* data() const noexcept { return data_; }
  [[nodiscard]] constexpr std::size_t size() const noexcept { return size_; }
  [[nodiscard]] constexpr bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] std::string_view text() const noexcept { return {reinterpret_cast<const char*>(data_), size_}; }

 private:
  const std::uint8_t* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace manta
