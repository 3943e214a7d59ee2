// Aligned, zeroed storage that is taken once, before the loop.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <limits>
#include <new>
#include <utility>

#include "linnet/index.hpp"

namespace linnet {

template <class V>
class Arena {
public:
    Arena() = default;
    explicit Arena(Index count) {
        if (count < 0 || static_cast<std::size_t>(count) >
                             std::numeric_limits<std::size_t>::max() / sizeof(V) / 2) {
            throw std::bad_alloc();
        }
        const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(V);
        // Of pages that are zero anyway none is touched before it is used: large arenas are there at
        // once.
        memory_ = std::calloc(bytes + 2 * alignment, 1);
        if (memory_ == nullptr) throw std::bad_alloc();
        const auto address = reinterpret_cast<std::uintptr_t>(memory_);
        data_ = reinterpret_cast<V*>((address + alignment - 1) / alignment * alignment);
    }
    ~Arena() { std::free(memory_); }
    Arena(Arena&& other) noexcept
        : memory_(std::exchange(other.memory_, nullptr)),
          data_(std::exchange(other.data_, nullptr)) {}
    Arena& operator=(Arena&& other) noexcept {
        std::swap(memory_, other.memory_);
        std::swap(data_, other.data_);
        return *this;
    }
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    V* data() const { return data_; }

private:
    static constexpr std::size_t alignment = 128;
    void* memory_ = nullptr;
    V* data_ = nullptr;
};

}  // namespace linnet
