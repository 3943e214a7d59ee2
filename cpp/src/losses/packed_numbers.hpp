// Numbers of runs in the lanes of packs.
#pragma once

#include <vector>

#include "base/arena.hpp"
#include "base/simd.hpp"
#include "linnet/index.hpp"

namespace linnet {

/// Numbers of runs, as packs; those that all runs share only once.
template <class V>
class PackedNumbers {
public:
    using T = ScalarOf<V>;
    static constexpr int lanes = PackTraits<V>::lanes;

    PackedNumbers(const RunArray<double>& from, Index count, int n_slots)
        : from_(from),
          count_(count),
          is_shared_(from.shared()),
          values_(count * (is_shared_ ? 1 : n_slots / lanes)) {
        if (!is_shared_) return;
        for (Index i = 0; i < count; ++i)
            values_.data()[i] = broadcast<V>(static_cast<T>(from.data[i]));
    }
    void set_run(int slot, Index run, const std::vector<Index>& run_shape) {
        if (is_shared_) return;
        const double* const values = from_.at(run, run_shape);
        V* const to = values_.data() + slot / lanes * count_;
        for (Index i = 0; i < count_; ++i) set_lane(to[i], slot % lanes, static_cast<T>(values[i]));
    }
    const V* of(int group) const { return values_.data() + (is_shared_ ? 0 : group * count_); }

private:
    RunArray<double> from_;
    Index count_;
    bool is_shared_;
    Arena<V> values_;
};

}  // namespace linnet
