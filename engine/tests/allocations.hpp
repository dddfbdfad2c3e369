// Counts what the calling thread allocates with `new`.
#pragma once

#include <cstddef>

namespace manta::tests {

[[nodiscard]] std::size_t allocations() noexcept;

}  // namespace manta::tests
