// Aligned, zeroed storage that is taken once, before the loop.
#pragma once

#include <cstdlib>
#include <cstring>
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
        data_ = static_cast<V*>(::operator new(bytes + alignment, std::align_val_t{alignment}));
        std::memset(static_cast<void*>(data_), 0, bytes + alignment);
    }
    ~Arena() {
        if (data_ != nullptr) ::operator delete(data_, std::align_val_t{alignment});
    }
    Arena(Arena&& other) noexcept : data_(other.data_) { other.data_ = nullptr; }
    Arena& operator=(Arena&& other) noexcept {
        std::swap(data_, other.data_);
        return *this;
    }
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    V* data() const { return data_; }

private:
    static constexpr std::size_t alignment = 128;
    V* data_ = nullptr;
};

}  // namespace linnet
