// Step sizes that follow a rule, for the runs of a machine.
#pragma once

#include <cmath>
#include <optional>

#include "base/arena.hpp"
#include "base/entries.hpp"
#include "linnet/step_rule.hpp"
#include "losses/radial_functions.hpp"

namespace linnet {

/// V: packs of runs, or one plain number.
template <class V>
class StepSizes {
public:
    using T = ScalarOf<V>;
    static constexpr int lanes = PackTraits<V>::lanes;

    /// law: of the loss, null if it has none; it must outlive this.
    StepSizes(StepKind kind, const SphericalTable* law, Index n_layers, int n_slots)
        : kind_(kind),
          n_layers_(n_layers),
          multipliers_(n_layers * (n_slots / lanes)),
          slots_(static_cast<std::size_t>(n_slots)) {
        if (law != nullptr) radial_.emplace(*law);
    }

    bool needs_loss() const { return kind_ == StepKind::loss_normalized; }

    /// parameters must outlive this.
    void set(int slot, const T* multipliers, double scale, StepParameters parameters,
             double n_steps, double elapsed) {
        for (Index l = 0; l < n_layers_; ++l)
            set_lane(own_multipliers(slot / lanes)[l], slot % lanes, multipliers[l]);
        slots_[static_cast<std::size_t>(slot)] = {scale, parameters, n_steps, elapsed};
    }
    double elapsed(int slot) const { return slots_[static_cast<std::size_t>(slot)].elapsed; }

    /// Set the step sizes of all layers for the step that is being taken.
    void apply(int group, const Entries<V>& product, const Entries<V>& residual, V loss, V* rates) {
        V of_interest{};
        if (kind_ == StepKind::loss_normalized) of_interest = loss;
        if (kind_ == StepKind::norm_proportional || kind_ == StepKind::alignment)
            of_interest = square_root(sum_of_squares(product));
        if (kind_ == StepKind::gradient_normalized)
            of_interest = square_root(sum_of_squares(residual));
        V step{};
        for (int r = 0; r < lanes; ++r) {
            Own& own = at(group, r);
            double size = own.scale * factor(own, static_cast<double>(get_lane(of_interest, r)));
            size *= own.parameters.data == nullptr ? 1 : warmup(own.parameters, own.n_steps);
            own.n_steps += 1;
            own.elapsed += size;
            set_lane(step, r, static_cast<T>(size));
        }
        const V* const multipliers = own_multipliers(group);
        for (Index l = 0; l < n_layers_; ++l) rates[l] = step * multipliers[l];
    }

private:
    struct Own {
        double scale = 0;
        StepParameters parameters;
        double n_steps = 0, elapsed = 0;
    };
    double factor(const Own& own, double of_interest) const {
        switch (kind_) {
            case StepKind::norm_proportional:
                return of_interest;
            case StepKind::loss_normalized:
            case StepKind::gradient_normalized:
                return 1 / of_interest;
            case StepKind::alignment:
                return radial_->alignment_step(of_interest);
            default:
                break;
        }
        // A slot that holds no run has no parameters.
        return own.parameters.data == nullptr ? 1 : scheduled(kind_, own.parameters, own.n_steps);
    }
    Own& at(int group, int lane) { return slots_[static_cast<std::size_t>(group * lanes + lane)]; }
    V* own_multipliers(int group) const { return multipliers_.data() + group * n_layers_; }
    StepKind kind_;
    std::optional<RadialFunctions> radial_;
    Index n_layers_;
    Arena<V> multipliers_;
    std::vector<Own> slots_;
};

}  // namespace linnet
