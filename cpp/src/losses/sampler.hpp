// Fresh samples of a spherically symmetric law, drawn for a step of a run.
#pragma once

#include "base/arena.hpp"
#include "linnet/loss.hpp"
#include "losses/choice.hpp"
#include "losses/sample_data.hpp"
#include "losses/sample_kernels.hpp"

namespace linnet {

/// Draws the samples of a step, as y x where they have labels y, in the layout of sample_kernels.hpp. Sample
/// i of a step has the Philox blocks i n, ..., i n + n - 1: a pair of coordinates each, the last one
/// for the length where it is random.
template <class T>
class Sampler {
public:
    using V = Pack<double, philox_lanes>;

    /// data and draws must outlive this.
    Sampler(const SampleData& data, const Draws& draws)
        : data_(data),
          draws_(draws),
          n_features_(data.n_features),
          n_pairs_((n_features_ + 1) / 2),
          point_(2 * n_pairs_) {}

    /// Samples first ... first + count - 1 of a step.
    void draw(Index run, Index step, Index first, Index count, T* to, Index ld) {
        const PhiloxKey key = key_of(draws_, data_.run_shape, run, step);
        const double* const direction =
            data_.direction.data == nullptr ? nullptr : data_.direction.at(run, data_.run_shape);
        for (Index i = 0; i < count; i += philox_lanes) draw(key, direction, first + i, to + i, ld);
    }

private:
    void draw(const PhiloxKey& key, const double* direction, Index first, T* to, Index ld) {
        const bool has_random_length =
            draws_.law == LawKind::ball || draws_.law == LawKind::mixture;
        const bool is_gaussian = draws_.law == LawKind::gaussian;
        const auto stride = static_cast<std::uint32_t>(n_pairs_ + (has_random_length ? 1 : 0));
        auto block = static_cast<std::uint32_t>(first) * stride;
        V square{};
        V* const x = point_.data();
        for (Index p = 0; p < n_pairs_; ++p, ++block) {
            V cosine;
            V sine;
            const V length =
                normal_pair(key, block, stride, cosine, sine, is_gaussian || n_features_ > 2);
            x[2 * p] = length * cosine;
            x[2 * p + 1] = length * sine;
            square = fma(x[2 * p], x[2 * p], square);
            if (2 * p + 1 < n_features_) square = fma(x[2 * p + 1], x[2 * p + 1], square);
        }
        V factor = broadcast<V>(draws_.radii.front());
        if (has_random_length) factor = random_length(key, block, stride);
        if (!is_gaussian) factor = factor / square_root(square);
        if (direction != nullptr) {
            V dot{};
            for (Index j = 0; j < n_features_; ++j)
                dot = fma(broadcast<V>(direction[j]), x[j], dot);
            factor = select(less(dot, V{}), -factor, factor);
        }
        for (Index j = 0; j < n_features_; ++j) {
            const V z = x[j] * factor;
            if constexpr (sizeof(T) == sizeof(double)) {
                store(to + j * ld, z);
            } else {
                for (int r = 0; r < philox_lanes; ++r) to[j * ld + r] = static_cast<T>(z[r]);
            }
        }
    }
    V random_length(const PhiloxKey& key, std::uint32_t block, std::uint32_t stride) const {
        PhiloxWords words[4];
        philox(key, block, stride, words);
        const V u = philox_uniform(words[0], words[1]);
        V length = broadcast<V>(draws_.radii.front());
        if (draws_.law == LawKind::ball)
            return length *
                   exponential(logarithm(u) * broadcast<V>(1 / static_cast<double>(n_features_)));
        for (std::size_t k = 0; k + 1 < draws_.radii.size(); ++k) {
            length = select(less(broadcast<V>(draws_.cumulative[k]), u),
                            broadcast<V>(draws_.radii[k + 1]), length);
        }
        return length;
    }
    const SampleData& data_;
    const Draws& draws_;
    Index n_features_, n_pairs_;
    Arena<V> point_;
};

}  // namespace linnet
