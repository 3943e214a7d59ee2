// What a machine follows beside its plan: a loss that the plan has no products for, a rule for step
// sizes, and an update policy.
#pragma once

#include <memory>

#include "engines/step_sizes.hpp"
#include "losses/registry.hpp"
#include "updates/updater.hpp"

namespace linnet {

template <class V>
struct Steering {
    std::unique_ptr<LossEngine<V>> loss;  ///< null: the machine has no question to it
    std::unique_ptr<StepSizes<V>> steps;  ///< null: step sizes stay
    std::unique_ptr<Updater<V>> update;   ///< null: weights move as their gradients are found
    double work = 0;                      ///< multiply-adds of one residual, about

    void set_steps(int group, const Entries<V>& product, const Entries<V>& residual, V* rates) {
        V value{};
        if (steps->needs_loss()) value = loss->loss(group, product);
        steps->apply(group, product, residual, value, rates);
    }
};

/// For steps. A loss that is made of moments is asked by a rule only.
template <class V>
Steering<V> steering_of(const LossData& data, const Draws* draws, StepKind rule,
                        const Update& update, Index n_layers, int n_slots) {
    Steering<V> steering;
    if (rule != StepKind::constant)
        steering.steps = std::make_unique<StepSizes<V>>(rule, data.law(), n_layers, n_slots);
    const bool needs_loss = steering.steps != nullptr && steering.steps->needs_loss();
    if (needs_loss || data.declaration().moments == nullptr)
        steering.loss = Losses::engine<V>(data, draws, n_slots);
    if (update_policies()[static_cast<std::size_t>(update.policy)].stores_gradients)
        steering.update = std::make_unique<Updater<V>>(update, n_slots);
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
