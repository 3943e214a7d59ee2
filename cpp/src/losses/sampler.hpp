// Samples drawn for a step of a run: fresh ones of a spherically symmetric law, or some of the
// data.
#pragma once

#include "base/arena.hpp"
#include "linnet/loss.hpp"
#include "losses/choice.hpp"
#include "losses/sample_data.hpp"
#include "losses/sample_kernels.hpp"

namespace linnet {

/// Inputs and targets of samples, in the layout of sample_kernels.hpp.
template <class T>
struct SamplePlaces {
    T* inputs;
    T* targets;
};

/// Draws the samples of a step: some of the data, or y x of a law, y being the label. Sample i of a
/// step has the Philox blocks i n, ..., i n + n - 1: of a law a pair of coordinates each, the last
/// one for the length where it is random.
template <class T>
class Sampler {
public:
    using V = Pack<double, philox_lanes>;

    /// data must outlive this.
    Sampler(const SampleData& data, const Draws* draws, int n_slots)
        : data_(data),
          draws_(draws),
          choice_(draws, data.run_shape, data.n_samples, n_slots),
          n_features_(data.n_features),
          n_pairs_((n_features_ + 1) / 2),
          point_(draws == nullptr ? 0 : 2 * n_pairs_) {}

    /// Samples first ... first + count - 1 of a step; `all`: the data to choose from, if any.
    void draw(int slot, Index run, Index step, Index first, Index count, SamplePlaces<const T> all,
              SamplePlaces<T> to, Index ld) {
        const PhiloxKey key = key_of(*draws_, data_.run_shape, run, step);
        const PhiloxKey of_noise = key_of(*draws_, data_.run_shape, run, step, Purpose::noise);
        for (Index i = 0; i < count; i += philox_lanes) {
            if (data_.is_of_law()) {
                fresh(key, data_.direction.at(run, data_.run_shape), first + i, to.inputs + i, ld);
            } else {
                Index places[philox_lanes];
                choice_(slot, run, step, first + i, places);
                copy(places, all, {to.inputs + i, to.targets + i}, ld);
                if (draws_->noise_std.data != nullptr)
                    add_noise(of_noise, *draws_->noise_std.at(run, data_.run_shape), first + i,
                              to.targets + i, ld);
            }
        }
    }

    /// How many samples a step sees.
    Index size(Index step) const {
        return data_.is_of_law() ? draws_->at(step).size : choice_.size(step);
    }

private:
    void fresh(const PhiloxKey& key, const double* direction, Index first, T* to, Index ld) {
        const bool has_random_length =
            draws_->law == LawKind::ball || draws_->law == LawKind::mixture;
        const bool is_gaussian = draws_->law == LawKind::gaussian;
        const auto stride = static_cast<std::uint32_t>(n_pairs_ + (has_random_length ? 1 : 0));
        auto block = static_cast<std::uint32_t>(first) * stride;
        V square{};
        V* const x = point_.data();
        for (Index p = 0; p < n_pairs_; ++p, ++block) {
            V cosine;
            V sine;
            const V length = pair(key, block, stride, cosine, sine, is_gaussian || n_features_ > 2);
            x[2 * p] = length * cosine;
            x[2 * p + 1] = length * sine;
            square = fma(x[2 * p], x[2 * p], square);
            if (2 * p + 1 < n_features_) square = fma(x[2 * p + 1], x[2 * p + 1], square);
        }
        V factor = broadcast<V>(draws_->radii.front());
        if (has_random_length) factor = random_length(key, block, stride);
        if (!is_gaussian) factor = factor / square_root(square);
        V dot{};
        for (Index j = 0; j < n_features_; ++j) dot = fma(broadcast<V>(direction[j]), x[j], dot);
        factor = select(less(dot, V{}), -factor, factor);
        for (Index j = 0; j < n_features_; ++j) {
            const V z = x[j] * factor;
            if constexpr (sizeof(T) == sizeof(double)) {
                store(to + j * ld, z);
            } else {
                for (int r = 0; r < philox_lanes; ++r) to[j * ld + r] = static_cast<T>(z[r]);
            }
        }
    }
    /// Two normal variates are the length that is returned times cosine and sine; 1 where the
    /// length is of no interest.
    static V pair(const PhiloxKey& key, std::uint32_t block, std::uint32_t stride, V& cosine,
                  V& sine, bool with_length) {
        PhiloxWords words[4];
        philox(key, block, stride, words);
        unit_circle(philox_uniform(words[2], words[3]), cosine, sine);
        if (!with_length) return broadcast<V>(1);
        return square_root(broadcast<V>(-2) * logarithm(philox_uniform(words[0], words[1])));
    }
    V random_length(const PhiloxKey& key, std::uint32_t block, std::uint32_t stride) const {
        PhiloxWords words[4];
        philox(key, block, stride, words);
        const V u = philox_uniform(words[0], words[1]);
        V length = broadcast<V>(draws_->radii.front());
        if (draws_->law == LawKind::ball)
            return length *
                   exponential(logarithm(u) * broadcast<V>(1 / static_cast<double>(n_features_)));
        for (std::size_t k = 0; k + 1 < draws_->radii.size(); ++k) {
            length = select(less(broadcast<V>(draws_->cumulative[k]), u),
                            broadcast<V>(draws_->radii[k + 1]), length);
        }
        return length;
    }
    void copy(const Index (&places)[philox_lanes], SamplePlaces<const T> all, SamplePlaces<T> to,
              Index ld) const {
        for (int r = 0; r < philox_lanes; ++r) {
            for (Index j = 0; j < n_features_; ++j)
                to.inputs[j * ld + r] = all.inputs[j * data_.stride + places[r]];
            for (Index k = 0; k < data_.n_outputs; ++k)
                to.targets[k * ld + r] = all.targets[k * data_.stride + places[r]];
        }
    }
    /// Sample i of a step has the blocks i n, ..., i n + n - 1: a pair of targets each.
    void add_noise(const PhiloxKey& key, double std, Index first, T* targets, Index ld) const {
        const auto n_pairs = static_cast<std::uint32_t>((data_.n_outputs + 1) / 2);
        auto block = static_cast<std::uint32_t>(first) * n_pairs;
        for (Index k = 0; k < data_.n_outputs; k += 2, ++block) {
            V cosine;
            V sine;
            const V length = broadcast<V>(std) * pair(key, block, n_pairs, cosine, sine, true);
            add(length * cosine, targets + k * ld);
            if (k + 1 < data_.n_outputs) add(length * sine, targets + (k + 1) * ld);
        }
    }
    static void add(V x, T* to) {
        for (int r = 0; r < philox_lanes; ++r)
            to[r] = static_cast<T>(static_cast<double>(to[r]) + x[r]);
    }

    const SampleData& data_;
    const Draws* draws_;
    Choice choice_;
    Index n_features_, n_pairs_;
    Arena<V> point_;
};

}  // namespace linnet
