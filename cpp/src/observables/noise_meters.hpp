// The noise of gradients of single samples.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/arena.hpp"
#include "losses/registry.hpp"
#include "observables/meter.hpp"

namespace linnet {

/// The trace of the covariance of the gradients g of single samples, E |g - E g|^2; or, if it is
/// curved, the mean curvature along them, E (g - E g)^T H (g - E g) over that.
template <class Machine>
class GradientNoise final : public Meter<Machine> {
public:
    using typename Meter<Machine>::View;
    using typename Meter<Machine>::V;
    using Meter<Machine>::lanes;

    GradientNoise(const Chain& chain, Index n_weights, const Measure& measure, int n_slots,
                  bool is_curved)
        : n_samples_(measure.count),
          is_curved_(is_curved),
          loss_(measure, n_slots),
          draws_(one_by_one(measure.loss->run_shape)),
          samples_(Losses::engine<V>(*measure.loss, &draws_, n_slots)),
          n_weights_(n_weights),
          residual_(1),
          mean_(chain.n_outputs() * chain.n_inputs()),
          gradient_(is_curved ? n_weights : 0),
          curved_(is_curved ? n_weights : 0) {}

    void set_run(int slot, Index run, const std::vector<Index>& /*run_shape*/) override {
        loss_.set_run(slot, run);
    }
    bool evaluate(const View& at, V* to) override {
        return loss_.with(at, [&] { return find(at, to); });
    }

private:
    /// Batches of one sample without replacement: an epoch goes through all of them.
    static Draws one_by_one(const std::vector<Index>& run_shape) {
        static constexpr std::int64_t stream = 0;
        Draws draws;
        draws.sizes = {{0, 1, 0}};
        draws.replace = false;
        draws.stream = {&stream, std::vector<Index>(run_shape.size(), 0)};
        return draws;
    }

    bool find(const View& at, V* to) {
        const Plan& plan = at.plan();
        const Places<V> residual = at.places(plan.residual);
        residual_[0] = plan.residual;
        at.get(residual_, mean_.data());
        for (int lane = 0; lane < lanes; ++lane)
            samples_->set_run(at.group() * lanes + lane, at.run(lane), 0);
        V squares{};
        V along{};
        for (Index k = 0; k < n_samples_; ++k) {
            samples_->residual(at.group(), at.product(), residual);
            samples_->advance();
            const V* mean = mean_.data();
            for (Index i = 0; i < residual.rows; ++i) {
                for (Index j = 0; j < residual.cols; ++j) residual(i, j) = residual(i, j) - *mean++;
            }
            if (!at.pull_back()) return false;
            for (const int id : plan.gradients) squares = squares + sum_of_squares(at.entries(id));
            if (!is_curved_) continue;
            at.get(plan.gradients, gradient_.data());
            at.put(mean_.data(), residual_);
            if (!at.pull_back() || !at.curve(gradient_.data(), curved_.data())) return false;
            V product{};
            for (Index i = 0; i < n_weights_; ++i)
                product = fma(gradient_.data()[i], curved_.data()[i], product);
            along = along + product;
        }
        *to =
            is_curved_ ? along / squares : squares / broadcast<V>(static_cast<double>(n_samples_));
        return true;
    }

    Index n_samples_;
    bool is_curved_;
    LossOfMeasure<Machine> loss_;
    Draws draws_;
    std::unique_ptr<LossEngine<V>> samples_;
    Index n_weights_;
    std::vector<int> residual_;  // its number in a plan
    Arena<V> mean_, gradient_, curved_;
};

}  // namespace linnet
