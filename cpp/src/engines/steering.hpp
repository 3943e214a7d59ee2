// What a machine follows beside its plan: a loss that is not made of second moments, a rule for step
// sizes, and an update policy.
#pragma once

#include <memory>

#include "engines/step_sizes.hpp"
#include "losses/registry.hpp"
#include "updates/updater.hpp"

namespace linnet {

template <class V>
struct Steering {
    std::unique_ptr<LossEngine<V>> loss;  ///< null: the squared loss, from its moments
    std::unique_ptr<StepSizes<V>> steps;  ///< null: step sizes stay
    std::unique_ptr<Updater<V>> update;   ///< null: weights move as their gradients are found
    double work = 0;                      ///< multiply-adds of one residual, about

    template <class Cross>
    void set_steps(int group, const Entries<V>& product, const Entries<V>& residual,
                   const Cross& cross, V* rates) {
        V value{};
        if (steps->needs_loss()) {
            value = loss != nullptr ? loss->loss(group, product.data)
                                    : squared_loss(product, residual, cross, steps->power(group));
        }
        steps->apply(group, product, residual, value, rates);
    }
};

/// The work of one residual of a loss, in multiply-adds: about 30 more per margin, and per number
/// that is drawn.
inline double work_of_loss(const LossData& data, const Draws* draws, Index n_features) {
    const auto d = static_cast<double>(n_features);
    if (data.kind == LossKind::squared) return 0;
    if (draws != nullptr) return static_cast<double>(draws->batch_size) * (32 * d + 30);
    if (data.kind == LossKind::spherical) return 6 * d + 500;
    return static_cast<double>(data.n_samples) * (2 * d + 30);
}

template <class V>
Steering<V> steering_of(const LossData& data, const Draws* draws, StepKind rule, Index n_features,
                        const Update& update, Index n_layers, int n_slots) {
    Steering<V> steering;
    steering.loss = make_loss_engine<V>(data, draws, n_features, n_slots);
    if (rule != StepKind::constant)
        steering.steps = std::make_unique<StepSizes<V>>(rule, data.law, n_layers, n_slots);
    if (update_policies()[static_cast<std::size_t>(update.policy)].stores_gradients)
        steering.update = std::make_unique<Updater<V>>(update, n_slots);
    steering.work = work_of_loss(data, draws, n_features);
    return steering;
}

}  // namespace linnet
