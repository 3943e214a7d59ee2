// Where the runs of a gradient flow are.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/arena.hpp"
#include "base/dop853.hpp"
#include "base/simd.hpp"
#include "linnet/train.hpp"
#include "plan/plan.hpp"
#include "runs/batch.hpp"

namespace linnet {

/// A run on its way.
struct FlowSlot {
    Index run = -1;
    Index record = 0;  ///< the next one to write
    Index n_steps = 0;
    double time = 0;
    double step = -1;  ///< the step to try next; negative: not known yet
    bool refused = false;
    bool is_stiff = false;  ///< goes by the method for these
    double radius = 0;      ///< of the spectrum, when it was last measured
    double longest = std::numeric_limits<double>::infinity();  ///< of its steps
    Index age = -1;           ///< of these two, in steps; negative: not known yet
    Index stiff_since = 0;    ///< the number of its step
    bool is_aligned = false;  ///< does it start exactly along what angles are measured to?
};

/// A machine with the runs in its slots: where they are, their slopes, and what steps are measured
/// by.
template <class Machine>
class FlowState {
public:
    static constexpr bool packed = Machine::packed;
    static constexpr int lanes = packed ? native_lanes<double> : 1;
    using V = std::conditional_t<packed, Pack<double, native_lanes<double>>, double>;

    FlowState(const Batch<double>& the_batch, const Flow& the_flow, Machine the_machine)
        : batch(the_batch),
          flow(the_flow),
          machine(std::move(the_machine)),
          n_groups(machine.n_slots() / lanes),
          size(machine.weights_size()),
          stride(size + 3 * native_lanes<double> / lanes),
          no_rates(static_cast<std::size_t>(batch.n_layers)),
          slots_(static_cast<std::size_t>(machine.n_slots())),
          memory_(n_groups * (n_blocks * stride + n_values)) {
        batch.set_shared_moments(machine);
    }

    FlowSlot& at(int slot) { return slots_[static_cast<std::size_t>(slot)]; }
    const FlowSlot& at(int slot) const { return slots_[static_cast<std::size_t>(slot)]; }

    // Blocks of a group, each laid out as the weights.
    V* here(int group) const { return block(group, 0); }   ///< where the runs are
    V* there(int group) const { return block(group, 1); }  ///< where a step leads
    V* slopes(int group) const {
        return block(group, 2);
    }  ///< gradients: the flow goes against them
    /// What is ready of the stages to come; then of dense output.
    V* terms(int group) const { return block(group, 2 + dop853::n_dense_stages); }

    V& rtol(int group) const { return block(group, n_blocks)[0]; }
    V& atol(int group) const { return block(group, n_blocks)[1]; }
    V& reach(int group) const {
        return block(group, n_blocks)[2];
    }  ///< a step times its growth rate, at most
    V& speed(int group) const { return block(group, n_blocks)[3]; }  ///< of logarithmic time

    /// slope <- the gradient at the weights in the machine, `ahead` of where the runs of a group are
    /// in time; false if asked to stop.
    bool evaluate(int group, V* slope, V ahead) {
        const auto g = static_cast<std::size_t>(group);
        machine.set_gradients(group, slope);
        if (flow.log_time) set_speed(group, ahead);
        if (!machine.run(0, machine.plan().gradient_end, g, g + 1)) return false;
        if (flow.log_time && batch.has_moments()) {
            const V by = speed(group);
            for (Index e = 0; e < size; ++e) slope[e] = by * slope[e];
        }
        if (batch.has_decay) {
            V decay = machine.decay(group, 0);  // a flow has one for all layers
            if (flow.log_time) decay = decay * speed(group);
            const V* const weights = machine.weights(group);
            LINNET_INDEPENDENT
            for (Index e = 0; e < size; ++e) slope[e] = fma(decay, weights[e], slope[e]);
        }
        return true;
    }

    static double read(const V& x, int slot) { return get_lane(x, slot % lanes); }
    static void put(V& x, int slot, double value) { set_lane(x, slot % lanes, value); }

    /// visit(place in a block, place in the dense matrix) for the entries of a layer, row by row.
    template <class Visit>
    void for_each_entry(Index l, const Visit& visit) const {
        const int id = machine.plan().weights[static_cast<std::size_t>(l)];
        const Plan::Matrix& shape = machine.plan().matrices[static_cast<std::size_t>(id)];
        const auto view = machine.view(0, id);
        const Index first = view.data - machine.weights(0);
        for (Index i = 0; i < shape.rows; ++i) {
            for (Index j = 0; j < shape.cols; ++j)
                visit(first + i * view.ld + j, i * shape.cols + j);
        }
    }
    void set_weights(int slot, Index l, const double* dense) {
        V* const to = here(slot / lanes);
        for_each_entry(l, [&](Index e, Index flat) { put(to[e], slot, dense[flat]); });
    }
    void get_weights(int slot, Index l, double* dense) const {
        const V* const from = here(slot / lanes);
        for_each_entry(l, [&](Index e, Index flat) { dense[flat] = read(from[e], slot); });
    }
    /// Which run a slot holds; -1: none.
    void set_run(int slot, Index run) {
        if (machine.steering().loss != nullptr) machine.steering().loss->set_run(slot, run, 0);
    }
    /// What a run has of its own but for its weights.
    void set_parameters(int slot, Index run) {
        set_run(slot, run);
        batch.set_own_moments(machine, slot, run);
        machine.set_rates(slot, no_rates.data(), batch.decays(run));
        const double relative = batch.scalar(flow.rtol, run);
        put(rtol(slot / lanes), slot, relative);
        put(reach(slot / lanes), slot, std::pow(relative / dop853::growth_error, 1.0 / 9));
        put(atol(slot / lanes), slot, batch.scalar(flow.atol, run));
    }

    const Batch<double>& batch;
    const Flow& flow;
    Machine machine;
    int n_groups;
    Index size;  ///< of the weights of a group, padded
    /// Of blocks: not a power of two, which would put them all into the same cache sets.
    Index stride;
    std::vector<double> no_rates;  ///< a flow has no step sizes

private:
    /// In logarithmic time u the flow is e^u times as fast, u = log(1 + time).
    void set_speed(int group, V ahead) {
        for (int r = 0; r < lanes; ++r) {
            const int s = group * lanes + r;
            const double u = at(s).time + read(ahead, s);
            put(speed(group), s, std::exp(u));
            if (!batch.has_moments()) machine.steering().loss->set_log_scale(s, u);
        }
    }

    static constexpr Index n_blocks = 2 + dop853::n_dense_stages + dop853::n_dense_terms;
    static constexpr Index n_values = 4;  ///< after the blocks

    V* block(int group, Index which) const {
        return memory_.data() + group * (n_blocks * stride + n_values) + which * stride;
    }

    std::vector<FlowSlot> slots_;
    Arena<V> memory_;
};

}  // namespace linnet
