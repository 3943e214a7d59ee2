// The Hessian of the objective as a function of the weights: eigenvalues, trace, products.
#pragma once

#include <algorithm>
#include <vector>

#include "base/arena.hpp"
#include "losses/packed_numbers.hpp"
#include "observables/lanczos.hpp"
#include "observables/meter.hpp"

namespace linnet {

template <class Machine>
class HessianEigenvalues final : public Meter<Machine> {
public:
    using typename Meter<Machine>::View;
    using typename Meter<Machine>::V;
    using Meter<Machine>::lanes;

    HessianEigenvalues(Index n_weights, const Measure& measure)
        : lanczos_(n_weights, std::max<Index>(measure.count, 1), measure.both) {}

    bool evaluate(const View& at, V* to) override {
        bool is_there[lanes];
        for (int lane = 0; lane < lanes; ++lane) is_there[lane] = at.run(lane) >= 0;
        const auto apply = [&](const V* from, V* result) { return at.curve(from, result); };
        return lanczos_.find(apply, is_there, to);
    }

private:
    Lanczos<V> lanczos_;
};

/// By one product for every weight.
template <class Machine>
class HessianTrace final : public Meter<Machine> {
public:
    using typename Meter<Machine>::View;
    using typename Meter<Machine>::V;

    explicit HessianTrace(Index n_weights)
        : n_weights_(n_weights),
          curved_(n_weights),
          unit_(n_weights) {}

    bool evaluate(const View& at, V* to) override {
        V total{};
        for (Index i = 0; i < n_weights_; ++i) {
            unit_.data()[i] = broadcast<V>(1);
            if (!at.curve(unit_.data(), curved_.data())) return false;
            unit_.data()[i] = V{};
            total = total + curved_.data()[i];
        }
        *to = total;
        return true;
    }

private:
    Index n_weights_;
    Arena<V> curved_, unit_;
};

/// Times a direction that is given.
template <class Machine>
class HessianProduct final : public Meter<Machine> {
public:
    using typename Meter<Machine>::View;
    using typename Meter<Machine>::V;

    HessianProduct(Index n_weights, const Measure& measure, int n_slots)
        : direction_(measure.arrays[0], n_weights, n_slots) {}

    void set_run(int slot, Index run, const std::vector<Index>& run_shape) override {
        if (run >= 0) direction_.set_run(slot, run, run_shape);
    }
    bool evaluate(const View& at, V* to) override {
        return at.curve(direction_.of(at.group()), to);
    }

private:
    PackedNumbers<V> direction_;
};

}  // namespace linnet
