// What a machine follows beside its plan: a loss that the plan has no products for, a rule for step
// sizes, and an update policy.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "engines/step_sizes.hpp"
#include "linnet/train.hpp"
#include "losses/registry.hpp"
#include "updates/ascent.hpp"
#include "updates/noise.hpp"
#include "updates/updater.hpp"

namespace linnet {

template <class V>
struct Steering {
    std::unique_ptr<LossEngine<V>> loss;   ///< null: the machine has no question to it
    std::unique_ptr<StepSizes<V>> steps;   ///< null: step sizes stay
    std::unique_ptr<Updater<V>> update;    ///< null: weights move as their gradients are found
    std::unique_ptr<Ascent<V>> ascent;     ///< null: gradients are taken where the weights are
    std::unique_ptr<NoiseAdder<V>> noise;  ///< null: weights have none
    double work = 0;                       ///< multiply-adds of one residual, about

    /// The step of all runs has been taken.
    void advance() {
        if (loss != nullptr) loss->advance();
        if (update != nullptr) update->advance();
        if (noise != nullptr) noise->advance();
    }
    void set_steps(int group, const Entries<V>& product, const Entries<V>& residual, V* rates) {
        V value{};
        if (steps->needs_loss()) value = loss->loss(group, product);
        steps->apply(group, product, residual, value, rates);
    }
};

/// For steps. A loss that is made of moments is asked by a rule only.
template <class V>
Steering<V> steering_of(const LossData& data, const Descent& descent, const Chain& chain,
                        const std::vector<Index>& run_shape, int n_slots) {
    const Draws* const draws = descent.draws;
    const auto n_layers = static_cast<Index>(chain.sizes.size());
    Steering<V> steering;
    if (descent.rule != StepKind::constant)
        steering.steps =
            std::make_unique<StepSizes<V>>(descent.rule, data.law(), n_layers, n_slots);
    const bool needs_loss = steering.steps != nullptr && steering.steps->needs_loss();
    if (needs_loss || data.declaration().moments == nullptr)
        steering.loss = Losses::engine<V>(data, draws, n_slots);
    if (update_policies()[static_cast<std::size_t>(descent.update.policy)].stores_gradients) {
        const Index largest = *std::max_element(chain.sizes.begin(), chain.sizes.end());
        steering.update = std::make_unique<Updater<V>>(descent.update, largest, n_slots);
    }
    if (descent.radius.data != nullptr) steering.ascent = std::make_unique<Ascent<V>>(n_slots);
    if (descent.noise != nullptr)
        steering.noise = std::make_unique<NoiseAdder<V>>(*descent.noise, chain, run_shape, n_slots);
    steering.work = Losses::work(data, draws);
    return steering;
}

/// For looking at the loss itself.
template <class V>
Steering<V> steering_of(const LossData& data, int n_slots) {
    Steering<V> steering;
    steering.loss = Losses::engine<V>(data, nullptr, n_slots);
    steering.work = Losses::work(data, nullptr);
    return steering;
}

}  // namespace linnet
