// What everything speaks in: indices, arrays of runs, how a run ended, and how a long call is
// controlled.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace linnet {

using Index = std::ptrdiff_t;

inline Index n_runs_of(const std::vector<Index>& run_shape) {
    Index n = 1;
    for (const Index extent : run_shape) n *= extent;
    return n;
}

/// How a run ended. The numbers are part of the file format.
enum class Status : std::int8_t { completed = 0, converged = 1, diverged = 2, exhausted = 3 };

/// One sentence on a status, for users.
const char* message(Status status);

/// An array with leading run axes: the first element of run (i_0, i_1, ...) is data[sum_k i_k
/// strides[k]].
template <class T>
struct RunArray {
    const T* data = nullptr;
    std::vector<Index> strides;

    /// Does every run see the same values?
    bool shared() const {
        for (const Index stride : strides) {
            if (stride != 0) return false;
        }
        return true;
    }
    /// Values of one run, given its flat index in C order.
    const T* at(Index run, const std::vector<Index>& run_shape) const {
        Index offset = 0;
        for (std::size_t k = run_shape.size(); k-- > 0;) {
            offset += (run % run_shape[k]) * strides[k];
            run /= run_shape[k];
        }
        return data + offset;
    }
};

struct Control {
    int n_threads = 1;
    /// Called by the calling thread about every 50 ms with the work done; true: stop as soon as
    /// possible.
    std::function<bool(std::int64_t)> poll;
    bool may_fork = false;  ///< poll() calls functions of the user, which may fork
};

/// The same with no more threads than there is work for.
inline Control at_most(Control control, Index n_threads) {
    control.n_threads =
        static_cast<int>(std::max<Index>(1, std::min<Index>(control.n_threads, n_threads)));
    return control;
}

}  // namespace linnet
