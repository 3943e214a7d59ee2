// Steps of a gradient flow, and what lies between their ends.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "base/dop853.hpp"
#include "base/simd.hpp"
#include "flow/direction_control.hpp"
#include "flow/state.hpp"

namespace linnet {

/// Columns first ... last - 1 of a row of the table times the slopes, at place e of their blocks;
/// zeros are left out.
template <int row, int first, int last, class V>
inline V combined(const V* slopes, Index stride, Index e) {
    V total{};
    if constexpr (first < last) {
        total = combined<row, first, last - 1>(slopes, stride, e);
        constexpr double coefficient = dop853::table[row][last - 1];
        if constexpr (coefficient != 0)
            total = fma(broadcast<V>(coefficient), slopes[(last - 1) * stride + e], total);
    }
    return total;
}

/// The method of Dormand and Prince of order 8 on the runs of a state, a group at a time.
template <class Machine>
class DormandPrince {
public:
    using State = FlowState<Machine>;
    using V = typename State::V;
    static constexpr int lanes = State::lanes;
    static constexpr bool for_stiff = false;

    DormandPrince(State& state, DirectionControl<Machine>& direction)
        : state_(state),
          machine_(state.machine),
          direction_(direction),
          size_(state.size),
          stride_(state.stride) {}

    static bool prepare(int /*group*/) { return true; }

    /// The slopes where the runs are, from the weights in the machine; false if asked to stop.
    bool start(int group) { return evaluate(0, group, V{}); }

    /// A hundredth of the time in which the weights change by their own size, as measured by the
    /// tolerances; infinite where they do not move.
    V first_step(int group) const {
        V here{};
        V slope{};
        for (Index l = 0; l < state_.batch.n_layers; ++l) {
            V square_here{};
            V square_slope{};
            state_.for_each_entry(l, [&](Index e, Index /*flat*/) {
                const V y = state_.here(group)[e];
                const V f = state_.slopes(group)[e];
                square_here = fma(y, y, square_here);
                square_slope = fma(f, f, square_slope);
            });
            const V root = broadcast<V>(std::sqrt(static_cast<double>(state_.batch.layer_size(l))));
            const V scale =
                fma(state_.rtol(group), square_root(square_here), state_.atol(group) * root);
            const V a = square_root(square_here) / scale;
            const V b = square_root(square_slope) / scale;
            here = fma(a, a, here);
            slope = fma(b, b, slope);
        }
        const V infinite = broadcast<V>(std::numeric_limits<double>::infinity());
        return select(less_equal(slope, V{}), infinite,
                      broadcast<V>(0.01) * square_root(here / slope));
    }
    /// The stages of a step; weights <- the next point, error <- that of the step by the
    /// tolerances: at most 1 is good. False if asked to stop.
    bool go_through(int group, V step, V& error) {
        const auto next_three = std::make_integer_sequence<int, 3>{};
        go_to<1>(group, step);
        if (!evaluate(1, group, step)) return false;
        go_to<2>(group, step);
        if (!evaluate(2, group, step)) return false;
        go_to<3>(group, step);
        if (!evaluate(3, group, step)) return false;
        go_to<4>(group, step);
        if (!evaluate(4, group, step)) return false;
        go_to_and_prepare<5>(group, step, next_three);
        if (!evaluate(5, group, step)) return false;
        go_on_to<6, 5>(group, step);
        if (!evaluate(6, group, step)) return false;
        go_on_to<7, 5>(group, step);
        if (!evaluate(7, group, step)) return false;
        go_on_to<8, 5>(group, step);
        if (!evaluate(8, group, step)) return false;
        go_to_and_prepare<9>(group, step, next_three);
        if (!evaluate(9, group, step)) return false;
        go_on_to<10, 9>(group, step);
        if (!evaluate(10, group, step)) return false;
        go_on_to<11, 9>(group, step);
        if (!evaluate(11, group, step)) return false;
        error = finish_step(group, step);
        if (direction_.is_on() && !measure_direction(group, step, error)) return false;
        return evaluate(dop853::next_point, group, step);
    }
    /// The factor between one step and the next, error^(-1/8).
    static V step_factor(V error) {
        return broadcast<V>(safety) / square_root(square_root(square_root(error)));
    }
    /// Is a step of this error to be taken? Sets the size of the next one.
    static bool accept(FlowSlot& slot, double tried, double error, double factor) {
        if (error <= 1) {
            const double most = slot.refused ? 1 : grow_most;
            slot.step = tried * (factor < most ? std::max(factor, shrink_most) : most);
            slot.refused = false;
            return true;
        }
        // also if NaN
        slot.step = tried * (factor > shrink_most ? factor : shrink_most);
        slot.refused = true;
        return false;
    }
    /// Go where a step leads, in the slots that take it.
    void advance(int group, const V* next, const std::vector<int>& taken) {
        V* const here = state_.here(group);
        V* const slope = state_.slopes(group);
        const V* const next_slope = slope + dop853::next_point * stride_;
        if (static_cast<int>(taken.size()) == lanes) {
            std::copy_n(next, size_, here);
            std::copy_n(next_slope, size_, slope);
            return;
        }
        V is_taken{};
        for (const int s : taken) State::put(is_taken, s, 1);
        const auto mask = less(V{}, is_taken);
        LINNET_INDEPENDENT
        for (Index e = 0; e < size_; ++e) {
            here[e] = select(mask, next[e], here[e]);
            slope[e] = select(mask, next_slope[e], slope[e]);
        }
    }
    /// Make ready to interpolate within a step to `next`, which is put where the machine's weights
    /// do not overwrite it; false if asked to stop.
    bool prepare_dense_output(int group, V step, const V*& next) {
        const V* const here = state_.here(group);
        const V* const k = state_.slopes(group);
        V* const term = state_.terms(group);
        next = std::copy_n(next, size_, state_.there(group)) - size_;
        go_to<13>(group, step);
        if (!evaluate(13, group, step)) return false;
        go_to<14>(group, step);
        if (!evaluate(14, group, step)) return false;
        go_to<15>(group, step);
        if (!evaluate(15, group, step)) return false;
        const V* const last = k + dop853::next_point * stride_;
        const auto highest = [&](auto row, Index e) {
            return -step * combined<dop853::dense + decltype(row)::value, 0, 16>(k, stride_, e);
        };
        LINNET_INDEPENDENT
        for (Index e = 0; e < size_; ++e) {
            const V move = next[e] - here[e];
            term[e] = move;
            term[stride_ + e] = fma(-step, k[e], -move);
            term[2 * stride_ + e] = fma(step, last[e] + k[e], move + move);
            term[3 * stride_ + e] = highest(std::integral_constant<int, 0>{}, e);
            term[4 * stride_ + e] = highest(std::integral_constant<int, 1>{}, e);
            term[5 * stride_ + e] = highest(std::integral_constant<int, 2>{}, e);
            term[6 * stride_ + e] = highest(std::integral_constant<int, 3>{}, e);
        }
        return true;
    }
    /// to <- the weights at `part` of a step to `next`: 1 is its end, and is exact.
    void interpolate(int group, V part, const V* next, V* to) const {
        const V* const here = state_.here(group);
        const V* const term = state_.terms(group);
        const V one = broadcast<V>(1);
        const V rest = one - part;
        const auto at_end = less_equal(one, part);
        LINNET_INDEPENDENT
        for (Index e = 0; e < size_; ++e) {
            V move = term[6 * stride_ + e] * part;
            move = (move + term[5 * stride_ + e]) * rest;
            move = (move + term[4 * stride_ + e]) * part;
            move = (move + term[3 * stride_ + e]) * rest;
            move = (move + term[2 * stride_ + e]) * part;
            move = (move + term[stride_ + e]) * rest;
            move = (move + term[e]) * part;
            to[e] = select(at_end, next[e], here[e] + move);
        }
    }

private:
    static constexpr double safety = 0.9;
    static constexpr double shrink_most = 0.2;
    static constexpr double grow_most = 6;

    /// slope number `to` <- the gradient at the weights in the machine, at the node of a step that
    /// belongs to it; false if asked to stop.
    bool evaluate(int to, int group, V step) {
        return state_.evaluate(group, state_.slopes(group) + to * stride_,
                               broadcast<V>(dop853::node(to)) * step);
    }
    /// weights <- point - step * (slopes combined for a stage)
    template <int stage>
    void go_to(int group, V step) {
        V* const to = machine_.weights(group);
        const V* const from = state_.here(group);
        const V* const k = state_.slopes(group);
        LINNET_INDEPENDENT
        for (Index e = 0; e < size_; ++e)
            to[e] = fma(-step, combined<stage, 0, stage>(k, stride_, e), from[e]);
    }
    /// The same for stage `from`, and terms <- what the slopes before it give to the stages after
    /// it: each slope is fetched once for all of them, for the steps of a method with this many
    /// slopes are bound by memory.
    template <int from, int... after>
    void go_to_and_prepare(int group, V step, std::integer_sequence<int, after...> /*unused*/) {
        V* const to = machine_.weights(group);
        const V* const here = state_.here(group);
        const V* const k = state_.slopes(group);
        V* const part = state_.terms(group);
        LINNET_INDEPENDENT
        for (Index e = 0; e < size_; ++e) {
            to[e] = fma(-step, combined<from, 0, from>(k, stride_, e), here[e]);
            ((part[after * stride_ + e] =
                  fma(-step, combined<from + 1 + after, 0, from>(k, stride_, e), here[e])),
             ...);
        }
    }
    template <int stage, int from>
    void go_on_to(int group, V step) {
        V* const to = machine_.weights(group);
        const V* const k = state_.slopes(group);
        const V* const part = state_.terms(group) + (stage - from - 1) * stride_;
        LINNET_INDEPENDENT
        for (Index e = 0; e < size_; ++e)
            to[e] = fma(-step, combined<stage, from, stage>(k, stride_, e), part[e]);
    }
    /// weights <- the next point; returns the error. Layers are measured as a whole, so that an
    /// entry that passes through zero, or a turn of the hidden units, makes no difference.
    V finish_step(int group, V step) {
        static_assert(dop853::table[dop853::error_5][dop853::next_point] == 0 &&
                      dop853::table[dop853::error_3][dop853::next_point] == 0);
        const V* const here = state_.here(group);
        const V* const k = state_.slopes(group);
        const V* const part = state_.terms(group) + (dop853::next_point - 10) * stride_;
        V* const next = machine_.weights(group);
        V total_5{};
        V total_3{};
        for (Index l = 0; l < state_.batch.n_layers; ++l) {
            const int id = machine_.plan().weights[static_cast<std::size_t>(l)];
            const Plan::Matrix& shape = machine_.plan().matrices[static_cast<std::size_t>(id)];
            const auto view = machine_.view(0, id);
            const Index first = view.data - machine_.weights(0);
            V sums[4] = {};
            for (Index i = 0; i < shape.rows; ++i) {
                V row[4] = {};
                for (Index e = first + i * view.ld; e < first + i * view.ld + shape.cols; ++e) {
                    const V move = combined<dop853::next_point, 9, 12>(k, stride_, e);
                    const V to = fma(-step, move, part[e]);
                    const V error_5 = combined<dop853::error_5, 0, 12>(k, stride_, e);
                    const V error_3 = combined<dop853::error_3, 0, 12>(k, stride_, e);
                    next[e] = to;
                    row[0] = fma(error_5, error_5, row[0]);
                    row[1] = fma(error_3, error_3, row[1]);
                    row[2] = fma(here[e], here[e], row[2]);
                    row[3] = fma(to, to, row[3]);
                }
                for (int q = 0; q < 4; ++q) sums[q] = sums[q] + row[q];
            }
            const V root = broadcast<V>(std::sqrt(static_cast<double>(state_.batch.layer_size(l))));
            const V norm = square_root(larger(sums[2], sums[3]));
            const V scale = step / fma(state_.rtol(group), norm, state_.atol(group) * root);
            const V scaled_5 = square_root(sums[0]) * scale;
            const V scaled_3 = square_root(sums[1]) * scale;
            total_5 = fma(scaled_5, scaled_5, total_5);
            total_3 = fma(scaled_3, scaled_3, total_3);
        }
        const V both = fma(broadcast<V>(0.01), total_3, total_5);
        const V n_layers = broadcast<V>(static_cast<double>(state_.batch.n_layers));
        // No error at all would be 0 / 0.
        const V tiny = broadcast<V>(1e-280);
        return total_5 / square_root(larger(both * n_layers, tiny));
    }

    /// error <- at least that of the direction. The next point is in the machine, and stays there.
    bool measure_direction(int group, V step, V& error) {
        const V* const k = state_.slopes(group);
        const V* const next =
            std::copy_n(machine_.weights(group), size_, state_.there(group)) - size_;
        const auto copy = [&](const V* from) {
            return [this, from](V* to) { std::copy_n(from, size_, to); };
        };
        const auto moved_by = [&](auto row) {
            return [this, step, k, next](V* to) {
                LINNET_INDEPENDENT
                for (Index e = 0; e < size_; ++e)
                    to[e] =
                        fma(step, combined<decltype(row)::value, 0, 12>(k, stride_, e), next[e]);
            };
        };
        return direction_.measure_step(
            machine_, group, state_.rtol(group), copy(state_.here(group)), copy(next),
            moved_by(std::integral_constant<int, dop853::error_5>{}),
            moved_by(std::integral_constant<int, dop853::error_3>{}), error);
    }

    State& state_;
    Machine& machine_;
    DirectionControl<Machine>& direction_;
    Index size_, stride_;
};

}  // namespace linnet
