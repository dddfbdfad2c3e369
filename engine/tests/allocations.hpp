// Counts what the calling thread allocates with `new`.
#pragma once

#include <cstddef>

namespace manta::tests {

[[nodiscard]] std::size_t allocations() noexcept;

// Not with a sanitizer, whose own `new` stays in place.
[[nodiscard]] bool counts_allocations() noexcept;

}  // namespace manta::tests
