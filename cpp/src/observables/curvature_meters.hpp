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

    HessianEigenvalues(Index n_weights, const Measure& measure, int n_slots)
        : lanczos_(n_weights, std::max<Index>(measure.count, 1), measure.both),
          loss_(measure, n_slots) {}

    void set_run(int slot, Index run, const std::vector<Index>& /*run_shape*/) override {
        loss_.set_run(slot, run);
    }
    bool evaluate(const View& at, V* to) override {
        bool is_there[lanes];
        for (int lane = 0; lane < lanes; ++lane) is_there[lane] = at.run(lane) >= 0;
        const auto apply = [&](const V* from, V* result) { return at.curve(from, result); };
        return loss_.with(at, [&] { return lanczos_.find(apply, is_there, to); });
    }

private:
    Lanczos<V> lanczos_;
    LossOfMeasure<Machine> loss_;
};

/// The largest eigenvalue of D^-1/2 H D^-1/2, D what the method divides gradients by; where that is 0
/// weights do not move. Decay that is decoupled is added to it.
template <class Machine>
class PreconditionedSharpness final : public Meter<Machine> {
public:
    using typename Meter<Machine>::View;
    using typename Meter<Machine>::V;
    using Meter<Machine>::lanes;

    explicit PreconditionedSharpness(Index n_weights)
        : n_weights_(n_weights),
          lanczos_(n_weights, 1, false),
          factors_(n_weights),
          turned_(n_weights) {}

    bool evaluate(const View& at, V* to) override {
        bool is_there[lanes];
        for (int lane = 0; lane < lanes; ++lane) is_there[lane] = at.run(lane) >= 0;
        V* const factors = factors_.data();
        for (Index i = 0; i < n_weights_; ++i) {
            const V scale = at.scales()[i];
            factors[i] = select(less_equal(scale, V{}), V{}, broadcast<V>(1) / square_root(scale));
        }
        const auto apply = [&](const V* from, V* result) {
            V* const turned = turned_.data();
            for (Index i = 0; i < n_weights_; ++i) turned[i] = factors[i] * from[i];
            if (!at.curve_loss(turned, result)) return false;
            if (!at.is_decoupled()) at.add_decay(turned, result);
            for (Index i = 0; i < n_weights_; ++i) result[i] = factors[i] * result[i];
            if (at.is_decoupled()) at.add_decay(from, result);
            return true;
        };
        return lanczos_.find(apply, is_there, to);
    }

private:
    Index n_weights_;
    Lanczos<V> lanczos_;
    Arena<V> factors_, turned_;
};

/// By one product for every weight.
template <class Machine>
class HessianTrace final : public Meter<Machine> {
public:
    using typename Meter<Machine>::View;
    using typename Meter<Machine>::V;

    HessianTrace(Index n_weights, const Measure& measure, int n_slots)
        : n_weights_(n_weights),
          curved_(n_weights),
          unit_(n_weights),
          loss_(measure, n_slots) {}

    void set_run(int slot, Index run, const std::vector<Index>& /*run_shape*/) override {
        loss_.set_run(slot, run);
    }
    bool evaluate(const View& at, V* to) override {
        return loss_.with(at, [&] { return find(at, to); });
    }

private:
    bool find(const View& at, V* to) {
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

    Index n_weights_;
    Arena<V> curved_, unit_;
    LossOfMeasure<Machine> loss_;
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
