// Which engine is that of a loss.
#pragma once

#include <memory>

#include "losses/samples.hpp"
#include "losses/spherical.hpp"

namespace linnet {

/// The engine of a loss; null: it is made of second moments. draws: samples are drawn anew for
/// every step.
template <class V>
std::unique_ptr<LossEngine<V>> make_loss_engine(const LossData& data, const Draws* draws,
                                                Index n_features, int n_slots) {
    if (data.kind == LossKind::squared) return nullptr;
    if (data.kind == LossKind::exponential)
        return std::make_unique<SampleEngine<V, true>>(data, draws, n_features, n_slots);
    if (data.kind == LossKind::spherical && draws == nullptr)
        return std::make_unique<SphericalEngine<V>>(data, n_features, n_slots);
    return std::make_unique<SampleEngine<V, false>>(data, draws, n_features, n_slots);
}

}  // namespace linnet
