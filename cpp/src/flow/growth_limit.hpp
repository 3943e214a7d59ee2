// How fast small components of the weights may grow, and how long a step may be for them.
#pragma once

#include <limits>
#include <vector>

#include "base/entries.hpp"
#include "base/simd.hpp"
#include "flow/state.hpp"
#include "plan/plan.hpp"

namespace linnet {

/// Keeps steps so short that what is far smaller than a layer grows with relative accuracy rtol as
/// well.
template <class Machine>
class GrowthLimit {
public:
    using State = FlowState<Machine>;
    using V = typename State::V;

    explicit GrowthLimit(State& state)
        : state_(state),
          machine_(state.machine),
          shortened_(static_cast<std::size_t>(state.machine.n_slots())) {}

    /// Shorten the steps of some slots so that components far smaller than the layers grow with
    /// relative accuracy rtol; the weights in the machine are where the slots are.
    void shorten(int group, const std::vector<int>& which) {
        const Plan& plan = machine_.plan();
        if (plan.factors.size() == 1) return;
        V norm = square_root(squares(group, plan.residual));
        const bool faster =
            state_.flow.log_time && state_.batch.has_moments();  // other residuals are scaled
        if (faster) norm = norm * state_.speed(group);
        const auto shorten_by = [&](const V& rate) {
            bool any = false;
            for (const int s : which) {
                const double least = State::read(state_.reach(group), s) / State::read(rate, s);
                if (!(least < state_.at(s).step)) continue;
                any = true;
                shortened_[static_cast<std::size_t>(s)] = least;
            }
            return any;
        };
        for (const int s : which) shortened_[static_cast<std::size_t>(s)] = state_.at(s).step;
        // The norms of Schatten of order 2 and 8: the latter is nearer to the largest singular
        // value, but costs two products, and overflows.
        if (!shorten_by(growth_rate(group, norm))) return;
        const auto g = static_cast<std::size_t>(group);
        machine_.run(plan.gradient_end, plan.operations.size(), g, g + 1);
        V order_8 = square_root(square_root(square_root(squares(group, plan.residual_power))));
        if (faster) order_8 = order_8 * state_.speed(group);
        for (const int s : which) shortened_[static_cast<std::size_t>(s)] = state_.at(s).step;
        shorten_by(growth_rate(group, smaller(norm, order_8)));
        for (const int s : which) state_.at(s).step = shortened_[static_cast<std::size_t>(s)];
    }

private:
    /// The rate at which such components may grow: the second derivatives of the loss that couple
    /// two layers are the residual times the layers in between and around. For the residual this is
    /// an upper bound; the other layers enter by their root mean square singular value.
    V growth_rate(int group, V residual) const {
        const Plan& plan = machine_.plan();
        const std::size_t n_factors = plan.factors.size();
        if (n_factors == 2) return residual;
        V product = broadcast<V>(1);
        V least = broadcast<V>(std::numeric_limits<double>::infinity());
        V second = least;
        for (const Plan::Size& factor : plan.factors) {
            V square = broadcast<V>(factor.offset);
            if (factor.array >= 0) {
                const int id = plan.weights[static_cast<std::size_t>(factor.array)];
                const V own = squares(group, id) / broadcast<V>(factor.rank);
                square = factor.offset > 0 ? own + square : own;
            }
            const V norm = square_root(square);
            second = smaller(second, larger(least, norm));
            least = smaller(least, norm);
            product = product * norm;
        }
        // All layers but the two smallest.
        const V tiny = broadcast<V>(1e-300);
        const V others = product / larger(least * second, tiny);
        return residual * others * broadcast<V>(static_cast<double>(n_factors - 1));
    }
    V squares(int group, int id) const {
        return sum_of_squares(entries(machine_.view(group, id), id));
    }
    template <class View>
    Entries<V> entries(const View& view, int id) const {
        const Plan::Matrix& shape = machine_.plan().matrices[static_cast<std::size_t>(id)];
        return {view.data, view.ld, shape.rows, shape.cols};
    }

    State& state_;
    Machine& machine_;
    std::vector<double> shortened_;  ///< per slot: its step
};

}  // namespace linnet
