// What the workers of every method share: the batch of runs, and what is asked of it.
#pragma once

#include <algorithm>
#include <atomic>
#include <type_traits>
#include <vector>

#include "engines/direct_machine.hpp"
#include "engines/lane_machine.hpp"
#include "linnet/train.hpp"
#include "observables/probe.hpp"

namespace linnet {

/// The problem, what is wanted of it, and which runs are still to be claimed.
template <class T>
class Batch {
public:
    Batch(const Problem<T>& the_problem, const Results<T>& the_results, std::size_t records)
        : problem(the_problem),
          results(the_results),
          n_layers(static_cast<Index>(the_problem.chain.sizes.size())),
          n_records(static_cast<Index>(records)) {
        for (const Index extent : problem.run_shape) n_runs *= extent;
        n_in = problem.chain.n_inputs();
        n_out = problem.chain.n_outputs();
        if (problem.loss.kind != LossKind::squared) {
            by = ResidualBy::loss;
            shared_moments = true;  // there are none
        } else if (n_runs > 0 && problem.input_cov.shared() && problem.cross_cov.shared()) {
            shared_moments = true;
            cov.assign(problem.input_cov.data, problem.input_cov.data + n_in * n_in);
            cross.assign(problem.cross_cov.data, problem.cross_cov.data + n_out * n_in);
            by = ResidualBy::diagonal_moments;
            for (Index i = 0; i < n_in * n_in; ++i) {
                if (i % (n_in + 1) != 0 && problem.input_cov.data[i] != 0) by = ResidualBy::moments;
            }
        }
        has_stop_rule =
            problem.stop_loss.data != nullptr || problem.stop_gradient_norm.data != nullptr;
        at_check.loss = problem.stop_loss.data != nullptr;
        at_check.gradient_norm = problem.stop_gradient_norm.data != nullptr;
        at_record.loss = results.loss != nullptr;
        at_record.singular_values = results.singular_values != nullptr;
        at_record.product = results.product != nullptr;
        at_record.layer_norms = results.layer_norms != nullptr;
        at_record.imbalance = results.imbalance != nullptr;
        at_record.gradient_norm = results.gradient_norm != nullptr;
        at_record.margin = results.margin != nullptr;
        at_record.direction = results.angle != nullptr || results.log_tan_half_angle != nullptr ||
                              results.norm != nullptr;
        at_record.layer_vectors =
            results.layer_singular_ratio != nullptr || results.layer_alignment != nullptr;
        // Decay is decided once for the batch: with a decay of 0 the extra term adds an exact zero.
        const auto every_decay_is_zero = [&] {
            for (Index run = 0; run < n_runs; ++run) {
                if (scalar(problem.weight_decay, run) != 0) return false;
            }
            return true;
        };
        has_decay = problem.weight_decay.shared() ? n_runs > 0 && *problem.weight_decay.data != 0
                                                  : !every_decay_is_zero();
    }

    /// The next run to train, or -1. Runs that had ended before are passed on unchanged.
    Index claim() {
        while (true) {
            const Index run = next_.fetch_add(1, std::memory_order_relaxed);
            if (run >= n_runs) return -1;
            if (problem.ended == nullptr || problem.ended[run] == 0) return run;
            for (Index k = 0; k < n_persistent(); ++k)
                std::copy_n(start(run, k), layer_size(k % n_layers), final_state(run, k));
        }
    }
    bool drained() const { return next_.load(std::memory_order_relaxed) >= n_runs; }

    Index layer_size(Index l) const { return problem.chain.sizes[static_cast<std::size_t>(l)]; }
    /// What lasts from step to step, as in a plan: the weights, then the memories.
    Index n_persistent() const { return n_layers + static_cast<Index>(problem.memory.size()); }
    const T* start(Index run, Index k) const {
        const auto& array = k < n_layers ? problem.weights[static_cast<std::size_t>(k)]
                                         : problem.memory[static_cast<std::size_t>(k - n_layers)];
        return array.at(run, problem.run_shape);
    }
    T* final_state(Index run, Index k) const {
        T* const array = k < n_layers
                             ? results.final_weights[static_cast<std::size_t>(k)]
                             : results.final_memory[static_cast<std::size_t>(k - n_layers)];
        return array + run * layer_size(k % n_layers);
    }
    bool has_moments() const { return by != ResidualBy::loss; }
    /// Moments that all runs share, in the numbers of the weights or in double precision; null:
    /// there are none.
    template <class Number = double>
    const Number* shared_cov() const {
        if (!shared_moments || !has_moments()) return nullptr;
        if constexpr (std::is_same_v<Number, T>) {
            return cov.data();
        } else {
            return problem.input_cov.data;
        }
    }
    template <class Number = double>
    const Number* shared_cross() const {
        if (!shared_moments || !has_moments()) return nullptr;
        if constexpr (std::is_same_v<Number, T>) {
            return cross.data();
        } else {
            return problem.cross_cov.data;
        }
    }
    /// Machines that hold a plan of the chain, of one run or of groups of lanes. descent: what they
    /// are to follow.
    template <class Number>
    DirectMachine<Number> direct_machine(const Plan& plan, bool decay,
                                         const Descent& descent = {}) const {
        return {plan, decay, steering<Number>(descent, 1)};
    }
    template <class Number>
    LaneMachine<Number> lane_machine(const Plan& plan, int n_groups, bool decay,
                                     const Descent& descent = {}) const {
        constexpr int lanes = native_lanes<Number>;
        return {plan,
                n_groups,
                shared_cov<Number>(),
                shared_cross<Number>(),
                decay,
                steering<Pack<Number, lanes>>(descent, n_groups * lanes)};
    }
    double scalar(const RunArray<double>& array, Index run) const {
        return *array.at(run, problem.run_shape);
    }

    /// Write one record of a run from what the probe has evaluated in a slot.
    template <class AnyProbe>
    void write_record(AnyProbe& probe, int slot, Index run, Index record) const {
        const Index place = run * n_records + record;
        const auto cell = [&](double* base, Index size) {
            return base == nullptr ? nullptr : base + place * size;
        };
        if (results.loss != nullptr) results.loss[place] = probe.loss(slot);
        if (results.gradient_norm != nullptr)
            results.gradient_norm[place] = probe.gradient_norm(slot);
        ObservedArrays to;
        to.singular_values = cell(results.singular_values, std::min(n_in, n_out));
        to.product = cell(results.product, n_in * n_out);
        to.layer_norms = cell(results.layer_norms, n_layers);
        to.imbalance = cell(results.imbalance, n_layers - 1);
        to.angle = cell(results.angle, 1);
        to.log_tan_half_angle = cell(results.log_tan_half_angle, 1);
        to.norm = cell(results.norm, 1);
        to.margin = cell(results.margin, 1);
        to.layer_singular_ratio = cell(results.layer_singular_ratio, n_layers);
        to.layer_alignment = cell(results.layer_alignment, n_layers - 1);
        const bool has_direction = problem.direction.data != nullptr;
        probe.write(slot, to,
                    has_direction ? problem.direction.at(run, problem.run_shape) : nullptr);
    }
    /// Write the weights in a slot of a machine as a record.
    template <class Machine>
    void write_weights(const Machine& machine, int slot, Index run, Index record) const {
        for (std::size_t l = 0; l < results.weights.size(); ++l) {
            const Index size = layer_size(static_cast<Index>(l));
            machine.get_matrix(slot, machine.plan().weights[l],
                               results.weights[l] + (run * n_records + record) * size);
        }
    }
    /// Has a run met a stop rule, by what the probe has evaluated?
    template <class AnyProbe>
    bool is_converged(const AnyProbe& probe, int slot, Index run) const {
        const auto reached = [&](const RunArray<double>& limit, double value) {
            return limit.data != nullptr && value <= scalar(limit, run);
        };
        return reached(problem.stop_loss, probe.loss(slot)) ||
               reached(problem.stop_gradient_norm, probe.gradient_norm(slot));
    }

    const Problem<T>& problem;
    const Results<T>& results;
    Index n_layers, n_records, n_runs = 1, n_in, n_out;
    ResidualBy by = ResidualBy::moments;
    bool shared_moments = false, has_stop_rule = false, has_decay = false;
    std::vector<T> cov, cross;  ///< shared moments
    Wanted at_record, at_check;

private:
    template <class V>
    Steering<V> steering(const Descent& descent, int n_slots) const {
        return steering_of<V>(problem.loss, descent.draws, descent.rule, n_in, descent.update,
                              n_layers, n_slots);
    }

    std::atomic<Index> next_{0};
};

}  // namespace linnet
