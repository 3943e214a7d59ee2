// The error of a direction: of the part of a predictor that is across what angles are measured to.
//
// That part may be far smaller than the weights, so that their tolerances say nothing about it. It
// is measured by its own size here, and known to be nothing but rounding where it is.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/arena.hpp"
#include "base/simd.hpp"
#include "flow/state.hpp"

namespace linnet {

/// Where angles are recorded, the error of steps in the part across, and which angles are resolved.
template <class Machine>
class DirectionControl {
public:
    using State = FlowState<Machine>;
    using V = typename State::V;

    explicit DirectionControl(const State& state)
        : n_(state.machine.plan().n_inputs()),
          is_on_(state.batch.problem.direction.data != nullptr &&
                 (state.batch.at_record.rows[place_of<observable::Angle>] ||
                  state.batch.at_record.rows[place_of<observable::LogTanHalfAngle>])),
          directions_(is_on_ ? state.n_groups * (n_ + 1) : 0),
          parts_(is_on_ ? 2 * n_ : 0) {}

    /// Are angles recorded?
    bool is_on() const { return is_on_; }

    void set_direction(int slot, const double* direction) {
        V* const v = directions_.data() + slot / State::lanes * (n_ + 1);
        for (Index j = 0; j < n_; ++j) State::put(v[j], slot, direction[j]);
        const bool is_axis = std::count(direction, direction + n_, 0.0) == n_ - 1;
        State::put(v[n_], slot, is_axis ? 1 : 0);
    }

    /// error <- at least that of the part across. here(to), next(to) write the two ends of a step
    /// as weights, by_5(to) and by_3(to) the second as the two estimates of errors move it; the
    /// machine holds the second again afterwards. False if asked to stop.
    template <class Here, class Next, class By5, class By3>
    bool measure_step(Machine& machine, int group, V rtol, const Here& here, const Next& next,
                      const By5& by_5, const By3& by_3, V& error) {
        V* const weights = machine.weights(group);
        V* const at_next = parts_.data();
        V* const moved = at_next + n_;
        V size_here{};
        V size_next{};
        V noise{};
        here(weights);
        if (!get_part(machine, group, moved, size_here)) return false;
        next(weights);
        if (!get_part(machine, group, at_next, size_next)) return false;
        if (!get_noise(machine, group, noise)) return false;
        const V scale = fma(rtol, larger(size_here, size_next),
                            fma(broadcast<V>(16 * epsilon), noise, broadcast<V>(least)));
        V errors[2] = {};
        const auto measure = [&](const auto& by, V& to) {
            V size{};
            by(weights);
            if (!get_part(machine, group, moved, size)) return false;
            for (Index j = 0; j < n_; ++j) to = larger(to, absolute(moved[j] - at_next[j]));
            to = to / scale;
            return true;
        };
        if (!measure(by_5, errors[0]) || !measure(by_3, errors[1])) return false;
        next(weights);
        const V square = errors[0] * errors[0];
        const V both = fma(broadcast<V>(0.01) * errors[1], errors[1], square);
        const V own = square / square_root(larger(both, broadcast<V>(1e-280)));
        error = select(less(error, own), own, error);  // NaN stays
        return true;
    }

    /// Per slot, of the weights that fill(to) writes: 1 where the part across is known to about
    /// 1e-6 of its size; 0 where it is rounding, or too small for a number; 2 where it is exactly
    /// zero. False if asked to stop.
    template <class Fill>
    bool classify(Machine& machine, int group, const Fill& fill, V& resolved) {
        V size{};
        V noise{};
        fill(machine.weights(group));
        if (!get_part(machine, group, parts_.data(), size)) return false;
        if (!get_noise(machine, group, noise)) return false;
        const V one = broadcast<V>(1);
        const auto is_known =
            less_equal(fma(broadcast<V>(4e6 * epsilon), noise, broadcast<V>(least_known)), size);
        const auto is_nothing = less_equal(larger(size, noise), V{});
        resolved = select(is_nothing, one + one, select(is_known, one, V{}));
        return true;
    }

private:
    static constexpr double epsilon = std::numeric_limits<double>::epsilon();
    /// Parts below the first are not followed further, so that those below the second, which is
    /// far above where numbers lose their digits, are not known.
    static constexpr double least = 1e-300;
    static constexpr double least_known = 1e-280;

    /// The part across of the product of the weights in the machine, and its largest entry.
    bool get_part(Machine& machine, int group, V* part, V& size) const {
        const V* p = nullptr;
        if (!get_product(machine, group, p)) return false;
        const V* const v = directions_.data() + group * (n_ + 1);
        V along{};
        for (Index j = 0; j < n_; ++j) along = fma(p[j], v[j], along);
        for (Index j = 0; j < n_; ++j) {
            part[j] = fma(-along, v[j], p[j]);
            size = larger(size, absolute(part[j]));
        }
        return true;
    }
    /// What rounding can make of the part across, over the epsilon: the sum of all that cancels.
    /// The weights in the machine lose their signs.
    bool get_noise(Machine& machine, int group, V& noise) const {
        V* const weights = machine.weights(group);
        for (Index e = 0; e < machine.weights_size(); ++e) weights[e] = absolute(weights[e]);
        const V* p = nullptr;
        if (!get_product(machine, group, p)) return false;
        const V* const v = directions_.data() + group * (n_ + 1);
        // To an axis the part across is all other entries, and nothing has to be taken off.
        const V taken = broadcast<V>(1) - v[n_];
        V along{};
        for (Index j = 0; j < n_; ++j) along = fma(absolute(p[j]), absolute(v[j]), along);
        for (Index j = 0; j < n_; ++j) {
            const V size = absolute(v[j]);
            const V own = (broadcast<V>(1) - v[n_] * size) * absolute(p[j]);
            noise = larger(noise, fma(taken * size, along, own));
        }
        return true;
    }
    static bool get_product(Machine& machine, int group, const V*& product) {
        const auto g = static_cast<std::size_t>(group);
        if (!machine.run(0, machine.plan().product_end, g, g + 1)) return false;
        product = machine.view(group, machine.plan().product).data;
        return true;
    }

    Index n_;
    bool is_on_;
    Arena<V> directions_;  ///< per group, each followed by whether it is an axis
    Arena<V> parts_;
};

}  // namespace linnet
