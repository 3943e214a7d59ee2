// What the workers of every method share: the batch of runs, and what is asked of it.
#pragma once

#include <algorithm>
#include <atomic>
#include <limits>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "engines/direct_machine.hpp"
#include "engines/lane_machine.hpp"
#include "linnet/train.hpp"
#include "observables/probe.hpp"
#include "runs/order.hpp"

namespace linnet {

/// The problem, what is wanted of it, and which runs are still to be claimed.
template <class T>
class Batch {
public:
    Batch(const Problem<T>& the_problem, const Results<T>& the_results, std::size_t records)
        : problem(the_problem),
          results(the_results),
          n_layers(static_cast<Index>(the_problem.chain.sizes.size())),
          n_records(static_cast<Index>(records)),
          sizes(observable_sizes(the_problem.chain)),
          order_(the_problem.loss, the_problem.run_shape) {
        n_runs = n_runs_of(problem.run_shape);
        n_in = problem.chain.n_inputs();
        n_out = problem.chain.n_outputs();
        if (const auto moments_of = problem.loss.declaration().moments) {
            moments = moments_of(problem.loss);
            by = ResidualBy::moments;
            shares_moments =
                n_runs > 0 && moments->input_cov.shared() && moments->cross_cov.shared();
        }
        if (shares_moments) {
            const double* const all = moments->input_cov.data;
            by = ResidualBy::diagonal_moments;
            for (Index i = 0; i < n_in * n_in; ++i) {
                if (i % (n_in + 1) != 0 && all[i] != 0) by = ResidualBy::moments;
            }
        }
        at_check.rows[place_of<observable::Loss>] = problem.stop_loss.data != nullptr;
        at_check.rows[place_of<observable::GradientNorm>] =
            problem.stop_gradient_norm.data != nullptr;
        at_record.rows = wanted_in(results.observed);
        for (std::size_t k = 0; k < problem.evaluated.size(); ++k) {
            Evaluation evaluation{&problem.evaluated[k].loss, {}, {}};
            if (k < results.evaluated.size())
                evaluation.at_record = wanted_in(results.evaluated[k]);
            evaluation.at_check[place_of<observable::Loss>] =
                problem.evaluated[k].stop.data != nullptr;
            at_record.at_record = at_record.at_record || evaluation.at_record.any();
            at_check.at_check = at_check.at_check || evaluation.at_check.any();
            evaluations.push_back(evaluation);
        }
        for (std::size_t k = 0; k < problem.measures.size(); ++k) {
            const Measure& one = problem.measures[k];
            if (k < results.measured.size() && results.measured[k] != nullptr)
                at_record.measures_at_record = true;
            at_check.measures_at_check = at_check.measures_at_check || one.stops();
            needs_directions = needs_directions || measures()[one.kind].needs_directions;
            needs_scales = needs_scales || measures()[one.kind].needs_scales;
        }
        has_stop_rule = at_check.any();
        // Decay is decided once for the batch: with a decay of 0 the extra term adds an exact zero.
        const auto every_decay_is_zero = [&] {
            const Index n_looked_at =
                problem.weight_decay.shared() ? std::min<Index>(n_runs, 1) : n_runs;
            for (Index run = 0; run < n_looked_at; ++run) {
                const double* const own = decays(run);
                if (std::any_of(own, own + n_layers, [](double c) { return c != 0; })) return false;
            }
            return true;
        };
        has_decay = !every_decay_is_zero();
    }

    /// Runs that a worker has claimed and not begun yet.
    struct Claim {
        Index next = 0, end = 0;
    };
    /// The next run to train, or -1: of a claim, which takes so many more where it is used up. Runs that
    /// had ended before are passed on unchanged.
    Index take(Claim& claim, Index count) {
        while (true) {
            if (claim.next == claim.end) {
                claim.next = next_.fetch_add(count, std::memory_order_relaxed);
                claim.end = std::min(claim.next + count, n_runs);
                if (claim.next >= n_runs) {
                    claim.next = claim.end = 0;
                    return -1;
                }
            }
            const Index run = order_.run(claim.next++);
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
    bool has_moments() const { return moments.has_value(); }
    /// Give a machine the moments that all runs share, if they do, for good.
    template <class Machine>
    void set_shared_moments(Machine& machine) const {
        for (int s = 0; shares_moments && s < machine.n_slots(); ++s)
            machine.set_moments(s, moments->input_cov.data, moments->cross_cov.data);
    }
    /// Give a machine the moments of a run that has its own.
    template <class Machine>
    void set_own_moments(Machine& machine, int slot, Index run) const {
        if (!has_moments() || shares_moments) return;
        machine.set_moments(slot, moments->input_cov.at(run, problem.run_shape),
                            moments->cross_cov.at(run, problem.run_shape));
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
        return lane_machine<Number>(plan, n_groups, decay,
                                    steering<Pack<Number, lanes>>(descent, n_groups * lanes));
    }
    /// What a probe goes by.
    Plan probe_plan() const {
        return needs_directions ? curvature_plan(problem.chain, by)
                                : gradient_plan(problem.chain, by);
    }
    /// The same for a probe, with the loss to look at.
    DirectMachine<double> direct_probe(const Plan& plan) const {
        return {plan, false, steering_of<double>(problem.loss, 1)};
    }
    LaneMachine<double> lane_probe(const Plan& plan, int n_groups) const {
        constexpr int lanes = native_lanes<double>;
        return lane_machine<double>(
            plan, n_groups, false,
            steering_of<Pack<double, lanes>>(problem.loss, n_groups * lanes));
    }
    template <class Machine>
    Probe<Machine> probe(Machine machine) const {
        return {std::move(machine),
                problem.chain,
                problem.run_shape,
                sizes,
                evaluations,
                problem.measures,
                problem.mirror.data != nullptr};
    }
    /// Let a slot of a probe hold a run.
    template <class AnyProbe>
    void set_run(AnyProbe& probe, int slot, Index run) const {
        probe.set_run(slot, run);
        if (problem.mirror.data != nullptr)
            probe.set_mirror(slot, problem.mirror.at(run, problem.run_shape));
        set_own_moments(probe.machine(), slot, run);
    }
    /// Weight decays of a run, of all layers.
    const double* decays(Index run) const {
        return problem.weight_decay.at(run, problem.run_shape);
    }
    double scalar(const RunArray<double>& array, Index run) const {
        return *array.at(run, problem.run_shape);
    }

    /// Write one record of a run from what the probe has evaluated in a slot.
    template <class AnyProbe>
    void write_record(AnyProbe& probe, int slot, Index run, Index record) const {
        const auto cells = [&](const std::vector<double*>& observed) {
            ObservableCells found{};
            for (std::size_t k = 0; k < observed.size(); ++k) {
                if (observed[k] != nullptr)
                    found[k] = observed[k] + (run * n_records + record) * sizes[k];
            }
            return found;
        };
        const bool has_direction = problem.direction.data != nullptr;
        probe.write(slot, cells(results.observed),
                    has_direction ? problem.direction.at(run, problem.run_shape) : nullptr);
        for (std::size_t k = 0; k < results.evaluated.size(); ++k)
            probe.write(slot, cells(results.evaluated[k]), k);
        for (std::size_t k = 0; k < results.measured.size(); ++k) {
            if (results.measured[k] == nullptr) continue;
            const Index size = size_of(problem.measures[k], problem.chain);
            probe.write_measure(slot, k, results.measured[k] + (run * n_records + record) * size);
        }
    }
    /// Say of a record of a run that nothing is known of its direction.
    void clear_direction(Index run, Index record) const {
        for (const std::size_t k :
             {place_of<observable::Angle>, place_of<observable::LogTanHalfAngle>}) {
            if (results.observed[k] != nullptr)
                results.observed[k][run * n_records + record] =
                    std::numeric_limits<double>::quiet_NaN();
        }
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
        for (std::size_t k = 0; k < problem.evaluated.size(); ++k) {
            if (reached(problem.evaluated[k].stop, probe.template value<observable::Loss>(slot, k)))
                return true;
        }
        for (std::size_t k = 0; k < problem.measures.size(); ++k) {
            const Measure& one = problem.measures[k];
            if (!one.stops()) continue;
            const double value = probe.measured(slot, k);
            if (reached(one.below, value) ||
                (one.above.data != nullptr && value >= scalar(one.above, run)))
                return true;
        }
        return reached(problem.stop_loss, probe.template value<observable::Loss>(slot)) ||
               reached(problem.stop_gradient_norm,
                       probe.template value<observable::GradientNorm>(slot));
    }

    const Problem<T>& problem;
    const Results<T>& results;
    Index n_layers, n_records, n_runs = 1, n_in, n_out;
    ObservableSizes sizes;
    std::optional<Moments> moments;  ///< of a loss that is made of them
    ResidualBy by = ResidualBy::loss;
    bool shares_moments = false;  ///< do all runs have the same?
    bool has_stop_rule = false, has_decay = false;
    bool needs_directions = false;  ///< does a measure ask for a plan with them?
    bool needs_scales = false;      ///< does one ask by what the method divides gradients?
    std::vector<Evaluation> evaluations;
    Wanted at_record, at_check;

private:
    static RowSet wanted_in(const std::vector<double*>& observed) {
        RowSet rows;
        for (std::size_t k = 0; k < observed.size(); ++k) rows[k] = observed[k] != nullptr;
        return rows;
    }
    template <class V>
    Steering<V> steering(const Descent& descent, int n_slots) const {
        return steering_of<V>(problem.loss, descent, problem.chain, problem.run_shape, n_slots);
    }
    template <class Number>
    LaneMachine<Number> lane_machine(const Plan& plan, int n_groups, bool decay,
                                     Steering<Pack<Number, native_lanes<Number>>> steering) const {
        const Number* shared_cov = nullptr;
        const Number* shared_cross = nullptr;
        if (shares_moments) {
            if constexpr (std::is_same_v<Number, double>) {
                shared_cov = moments->input_cov.data;
                shared_cross = moments->cross_cov.data;
            } else {
                std::call_once(rounded_, [this] { round_moments(); });
                shared_cov = cov_.data();
                shared_cross = cross_.data();
            }
        }
        return {plan, n_groups, shared_cov, shared_cross, decay, std::move(steering)};
    }

    void round_moments() const {
        const double* const cov = moments->input_cov.data;
        const double* const cross = moments->cross_cov.data;
        cov_.assign(cov, cov + n_in * n_in);
        cross_.assign(cross, cross + n_out * n_in);
    }

    RunOrder order_;
    mutable std::vector<T> cov_, cross_;  // those that all runs share, in single precision
    mutable std::once_flag rounded_;
    std::atomic<Index> next_{0};
};

}  // namespace linnet
