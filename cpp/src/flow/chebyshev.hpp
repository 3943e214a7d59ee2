// Steps of a gradient flow that is stiff: weights of some directions have long come to rest, and
// others go on for a thousand times as long.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "base/simd.hpp"
#include "flow/state.hpp"

namespace linnet {

/// The stabilised explicit method of order 2 by Sommeijer, Shampine and Verwer (RKC), on the runs of
/// a state, a group at a time: s stages are stable for steps that grow as s^2. What a flow is near
/// to has real eigenvalues only, for which it is made.
template <class Machine>
class Chebyshev {
public:
    using State = FlowState<Machine>;
    using V = typename State::V;
    static constexpr int lanes = State::lanes;
    static constexpr bool for_stiff = true;

    explicit Chebyshev(State& state)
        : state_(state),
          machine_(state.machine),
          size_(state.size),
          stride_(state.stride) {
        double n_weights = 0;
        for (Index l = 0; l < state.batch.n_layers; ++l)
            n_weights += static_cast<double>(state.batch.layer_size(l));
        half_log_ = 0.5 * std::log(std::max(n_weights, 1.0));
        due_.reserve(lanes);
    }

    /// Measure again how stiff the runs of a group are, where it is due; false if asked to stop.
    bool prepare(int group) {
        due_.clear();
        for (int s = group * lanes; s < (group + 1) * lanes; ++s) {
            const FlowSlot& slot = state_.at(s);
            if (slot.run < 0 || !slot.is_stiff) continue;
            const bool wants_more = slot.step > slot.longest && slot.age >= 10;
            if (slot.age < 0 || slot.age >= oldest || wants_more) due_.push_back(s);
        }
        if (due_.empty()) return true;
        if (!measure(group, due_) || !limit(group, due_)) return false;
        for (const int s : due_) state_.at(s).age = 0;
        return true;
    }

    /// How fast the fastest direction comes to rest, where some runs are, with a margin: the
    /// spectral radius of the Hessian, by the power method. False if asked to stop.
    bool measure(int group, const std::vector<int>& which) {
        V* const v = block(group, 1);
        V* const slope = block(group, 2);
        const V* const here = state_.here(group);
        const V* const known = state_.slopes(group);
        V* const weights = machine_.weights(group);
        set_noise(which, v);
        const V reach = small(group);
        V length = norm(v);
        V before{};
        double last[lanes] = {};  ///< what was measured last time
        for (const int s : which) last[s % lanes] = std::exchange(state_.at(s).radius, -1);
        for (int round = 0; round < 60; ++round) {
            const V part = reach / length;
            for (Index e = 0; e < size_; ++e) weights[e] = fma(part, v[e], here[e]);
            if (!state_.evaluate(group, slope, V{})) return false;
            for (Index e = 0; e < size_; ++e) v[e] = slope[e] - known[e];
            length = norm(v);
            const V ratio = length / reach;
            bool all = true;
            for (const int s : which) {
                FlowSlot& slot = state_.at(s);
                if (slot.radius >= 0) continue;
                const double now = State::read(ratio, s);
                const bool is_last = round == 59 || !std::isfinite(now) || now == 0;
                const bool stays = std::abs(now - State::read(before, s)) <= 0.01 * now;
                // Early rounds may seem to settle on a slower direction, of which noise held more.
                const bool is_sure =
                    round >= 8 || (last[s % lanes] > 0 && margin * now > 0.9 * last[s % lanes]);
                if ((stays && is_sure) || is_last) {
                    slot.radius = margin * now;
                } else {
                    all = false;
                }
            }
            if (all) return true;
            before = ratio;
            length = larger(length, broadcast<V>(std::numeric_limits<double>::min()));
        }
        return true;
    }

    /// The stages of a step; weights <- the next point, error <- that of the step by the
    /// tolerances: at most 1 is good. False if asked to stop.
    bool go_through(int group, V step, V& error) {
        V stages{};
        for (int r = 0; r < lanes; ++r) {
            const double size = get_lane(step, r);
            if (size > 0) set_lane(stages, r, stages_for(size * at(group, r).radius));
        }
        V* const next = machine_.weights(group);
        V* const slope = block(group, 2);
        const auto evaluate = [&](V part) { return state_.evaluate(group, slope, part * step); };
        if (!go(group, step, stages, state_.here(group), state_.slopes(group), next, slope,
                evaluate))
            return false;
        V* const last = state_.slopes(group) + dop853::next_point * stride_;
        if (!state_.evaluate(group, last, step)) return false;
        error = error_of(group, step, last);
        return true;
    }
    static V step_factor(V error) {
        V factor{};
        for (int r = 0; r < lanes; ++r)
            set_lane(factor, r, 0.8 / std::cbrt(std::max(get_lane(error, r), 1e-12)));
        return factor;
    }
    /// Is a step of this error to be taken? Sets the size of the next one.
    static bool accept(FlowSlot& slot, double tried, double error, double factor) {
        if (error <= 1) {
            slot.step = tried * std::clamp(factor, 0.2, slot.refused ? 1.0 : 5.0);
            slot.refused = false;
            ++slot.age;
            return true;
        }
        // also if NaN
        slot.step = tried * (factor > 0.1 ? std::min(factor, 0.9) : 0.1);
        slot.refused = true;
        if (slot.age > 0) slot.age = oldest;  // it may have become stiffer
        return false;
    }
    bool prepare_dense_output(int /*group*/, V step, const V*& /*next*/) {
        step_ = step;
        return true;
    }
    /// to <- the weights at `part` of a step to `next`, by the cubic of both ends and their slopes.
    void interpolate(int group, V part, const V* next, V* to) const {
        const V* const here = state_.here(group);
        const V* const first = state_.slopes(group);
        const V* const last = first + dop853::next_point * stride_;
        const V one = broadcast<V>(1);
        const V back = part - one;
        const auto at_end = less_equal(one, part);
        LINNET_INDEPENDENT
        for (Index e = 0; e < size_; ++e) {
            const V move = next[e] - here[e];
            V bend = (one - part - part) * move;
            bend = fma(-back * step_, first[e], bend);
            bend = fma(-part * step_, last[e], bend);
            to[e] = select(at_end, next[e], fma(part * back, bend, fma(part, move, here[e])));
        }
    }
    /// Does a run of the explicit method take steps that only stability keeps so short?
    static bool is_stiff(const FlowSlot& slot) { return slot.step * slot.radius > 5; }
    /// And would it take the steps of this one?
    static bool is_tame(const FlowSlot& slot) {
        return slot.n_steps - slot.stiff_since >= oldest &&
               std::min(slot.step, slot.longest) * slot.radius < 7;
    }

private:
    static constexpr Index oldest = 25;    ///< accepted steps between measurements
    static constexpr double margin = 1.2;  ///< of the spectral radius
    static constexpr double damping = 2.0 / 13;
    static constexpr double epsilon = std::numeric_limits<double>::epsilon();

    FlowSlot& at(int group, int lane) const { return state_.at(group * lanes + lane); }
    /// Scratch between steps, and within one.
    V* block(int group, int number) const { return state_.slopes(group) + number * stride_; }

    /// Fewest stages that are stable for a step times the spectral radius.
    static double stages_for(double reach) {
        return reach > 0 && std::isfinite(reach)
                   ? 1 + std::max(1.0, std::floor(std::sqrt(1 + 1.54 * reach)))
                   : 2;
    }
    /// And the most that so many stages are stable for.
    static double reach_of(double stages) { return ((stages - 1) * (stages - 1) - 1) / 1.54; }

    /// How far from where the runs are differences are taken.
    V small(int group) const {
        return broadcast<V>(std::sqrt(epsilon)) *
               larger(norm(state_.here(group)), broadcast<V>(1e-8));
    }
    V norm(const V* of) const {
        V square{};
        for (Index l = 0; l < state_.batch.n_layers; ++l)
            state_.for_each_entry(
                l, [&](Index e, Index /*flat*/) { square = fma(of[e], of[e], square); });
        return square_root(square);
    }
    /// v <- numbers in every direction, of a run's own and others at each of its steps: to those
    /// that lie across the fastest direction it would look slow for ever.
    void set_noise(const std::vector<int>& which, V* v) const {
        std::fill_n(v, size_, V{});
        for (Index l = 0; l < state_.batch.n_layers; ++l) {
            state_.for_each_entry(l, [&](Index e, Index flat) {
                const auto place = static_cast<std::uint64_t>(flat + 1) * 0x9e3779b97f4a7c15U +
                                   static_cast<std::uint64_t>(l) * 0xbf58476d1ce4e5b9U;
                v[e] = broadcast<V>(1);
                for (const int s : which) {
                    const auto step = static_cast<std::uint64_t>(state_.at(s).n_steps);
                    auto bits = place + step * 0xd1342543de82ef95U;
                    bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9U;
                    bits = (bits ^ (bits >> 27)) * 0x94d049bb133111ebU;
                    const auto high = static_cast<std::int64_t>((bits ^ (bits >> 31)) >> 11);
                    State::put(v[e], s, static_cast<double>(high) * 0x1p-52 - 1);
                }
            });
        }
    }

    /// Keep steps so short that rounding stays small within one, and that what is far smaller than
    /// a layer grows by a factor e with relative accuracy rtol^(1/3) / 6. How fast it grows is seen
    /// by what becomes of noise in a far longer step along the linear flow: what comes to rest is
    /// gone then.
    bool limit(int group, const std::vector<int>& which) {
        V far{};
        V stages{};
        double reaches[lanes] = {};
        for (const int s : which) {
            FlowSlot& slot = state_.at(s);
            const double rtol = State::read(state_.rtol(group), s);
            const double most = std::max(2.0, std::floor(std::sqrt(rtol / (10 * epsilon))));
            slot.longest = slot.radius > 0 ? reach_of(most + 1) / slot.radius
                                           : std::numeric_limits<double>::infinity();
            reaches[s % lanes] = std::pow(rtol, 1.0 / 6);
            const double left = state_.flow.until - slot.time;
            const double step = std::min({slot.step, slot.longest, left});
            double size = 5 * (1 + half_log_) / reaches[s % lanes] * step;
            size = std::min(size, reach_of(most_probed) / std::max(slot.radius, 1e-300));
            State::put(far, s, size);
            State::put(stages, s, stages_for(size * slot.radius));
        }
        if (machine_.plan().factors.size() == 1) return true;  // nothing grows
        V* const v = block(group, 1);
        V* const slope = block(group, 2);
        V* const moved = block(group, 3);
        V* const first = block(group, 5);
        const V* const here = state_.here(group);
        const V* const known = state_.slopes(group);
        V* const weights = machine_.weights(group);
        set_noise(which, v);
        const V length = norm(v);
        const V part = small(group) / length;
        const auto linear = [&](const V* of, V* to) {
            for (Index e = 0; e < size_; ++e) weights[e] = fma(part, of[e], here[e]);
            if (!state_.evaluate(group, to, V{})) return false;
            for (Index e = 0; e < size_; ++e) to[e] = (to[e] - known[e]) / part;
            return true;
        };
        if (!linear(v, first)) return false;
        const auto evaluate = [&](V /*part*/) { return linear(moved, slope); };
        if (!go(group, far, stages, v, first, moved, slope, evaluate)) return false;
        const V gain = norm(moved) / length;
        for (const int s : which) {
            FlowSlot& slot = state_.at(s);
            const double grown = std::log(std::max(State::read(gain, s), 1.0));
            const double rate = (grown + half_log_) / State::read(far, s);
            slot.longest = std::min(slot.longest, reaches[s % lanes] / rate);
        }
        return true;
    }

    /// to <- where a step of so many stages in each lane leads from `from`, whose slope is `first`;
    /// evaluate(part) puts the slope at `to`, that part of the step later, into `slope`. Lanes
    /// without stages stay. False if asked to stop.
    template <class Evaluate>
    bool go(int group, V step, V stages, const V* from, const V* first, V* to, const V* slope,
            const Evaluate& evaluate) {
        V w0{};
        V w1{};
        double most = 0;
        for (int r = 0; r < lanes; ++r) {
            const double s = std::max(get_lane(stages, r), 2.0);
            const double a = 1 + damping / (s * s);
            const double square = a * a - 1;
            const double root = std::sqrt(square);
            const double angle = s * std::log(a + root);
            const double sine = std::sinh(angle);
            set_lane(w0, r, a);
            set_lane(w1, r, sine * square / (std::cosh(angle) * s * root - a * sine));
            most = std::max(most, get_lane(stages, r));
        }
        const V one = broadcast<V>(1);
        const V two_w0 = w0 + w0;
        V* const before = block(group, 4);
        const auto goes = less(V{}, stages);
        // Chebyshev polynomials and their first two derivatives at w0, of two degrees.
        V z1 = w0, z2 = one, d1 = one, d2{}, c1{}, c2{};
        V b1 = one / (two_w0 * two_w0);
        V b2 = b1;
        V gain = w1 * b1;
        V when1 = gain, when2{};  // the parts of the step at which the last two stages are
        {
            const V by = -gain * step;
            LINNET_INDEPENDENT
            for (Index e = 0; e < size_; ++e) {
                before[e] = from[e];
                to[e] = select(goes, fma(by, first[e], from[e]), from[e]);
            }
        }
        for (int j = 2; j <= static_cast<int>(most); ++j) {
            if (!evaluate(when1)) return false;
            const V z = two_w0 * z1 - z2;
            const V d = two_w0 * d1 - d2 + (z1 + z1);
            const V c = two_w0 * c1 - c2 + broadcast<V>(4) * d1;
            const V b = c / (d * d);
            const V a = one - z1 * b1;
            const V mu = two_w0 * b / b1;
            const V nu = -b / b2;
            gain = mu * w1 / w0;
            const V when = mu * when1 + nu * when2 + gain * (one - a);
            const V by = -gain * step;
            const V of_first = -a * by;
            const V of_from = one - mu - nu;
            const auto stage = less_equal(broadcast<V>(j), stages);
            LINNET_INDEPENDENT
            for (Index e = 0; e < size_; ++e) {
                V sum = fma(by, slope[e], of_first * first[e]);
                sum = fma(nu, before[e], sum);
                sum = fma(of_from, from[e], sum);
                const V old = to[e];
                sum = fma(mu, old, sum);
                before[e] = old;
                to[e] = select(stage, sum, old);
            }
            z2 = z1, z1 = z, d2 = d1, d1 = d, c2 = c1, c1 = c, b2 = b1, b1 = b;
            when2 = when1, when1 = when;
        }
        return true;
    }

    /// Layers are measured as a whole, as by the other method.
    V error_of(int group, V step, const V* last) const {
        const V* const here = state_.here(group);
        const V* const first = state_.slopes(group);
        const V* const next = machine_.weights(group);
        const V by = broadcast<V>(0.4) * step;
        V total{};
        for (Index l = 0; l < state_.batch.n_layers; ++l) {
            V error{};
            V old{};
            V now{};
            state_.for_each_entry(l, [&](Index e, Index /*flat*/) {
                const V moved = broadcast<V>(0.8) * (here[e] - next[e]);
                const V own = fma(-by, first[e] + last[e], moved);
                error = fma(own, own, error);
                old = fma(here[e], here[e], old);
                now = fma(next[e], next[e], now);
            });
            const V root = broadcast<V>(std::sqrt(static_cast<double>(state_.batch.layer_size(l))));
            const V norm = square_root(larger(old, now));
            const V scaled =
                square_root(error) / fma(state_.rtol(group), norm, state_.atol(group) * root);
            total = fma(scaled, scaled, total);
        }
        return square_root(total / broadcast<V>(static_cast<double>(state_.batch.n_layers)));
    }

    static constexpr double most_probed = 4000;  ///< stages

    State& state_;
    Machine& machine_;
    Index size_, stride_;
    double half_log_ = 0;  ///< of the number of weights
    V step_{};             ///< of the dense output
    std::vector<int> due_;
};

}  // namespace linnet
