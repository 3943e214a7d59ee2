#include "linnet/train.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <optional>

#include "parallel.hpp"
#include "probe.hpp"

namespace linnet {

namespace {

/// What one step costs, in vector multiply-adds: for a group of lanes, and for one run on the direct machine. The
/// constants are what a block and a call cost beside its multiply-adds; they steer speed, never results.
struct Costs {
    double lanes = 0;
    double direct = 0;
    bool has_large_product = false;

    template <class T>
    static Costs of(const Plan& plan) {
        Costs costs;
        const Index width = native_lanes<T>;
        for (const Operation& operation : plan.operations) {
            const Plan::Matrix& c = plan.matrices[static_cast<std::size_t>(operation.c)];
            const auto inner = static_cast<double>(plan.inner(operation));
            const auto entries = static_cast<double>(c.rows) * static_cast<double>(c.cols);
            const auto vectors =
                static_cast<double>(c.rows) * static_cast<double>((c.cols + width - 1) / width);
            costs.lanes += entries * (inner + 2) + 15;
            costs.direct += vectors * (inner + 4) + 40;
            const double full_inner = operation.kind == Product::residual_diagonal
                                          ? static_cast<double>(plan.n_inputs())
                                          : inner;
            costs.has_large_product = costs.has_large_product || entries * full_inner >= eigen_from;
        }
        // Lanes multiply the working set by their number, and slow down when it leaves the first and second level cache.
        double bytes = 0;
        for (const Plan::Matrix& m : plan.matrices)
            bytes += static_cast<double>(m.rows) * static_cast<double>(m.cols) * vector_bytes;
        costs.lanes *= bytes > 1e6 ? 2 : bytes > 2e5 ? 1.25 : bytes > 6e4 ? 1.1 : 1;
        return costs;
    }
};

/// Everything the workers share: the problem, what it asks for, and which runs are still to be claimed.
template <class T>
class Batch {
public:
    Batch(const Problem<T>& the_problem, const Results<T>& the_results)
        : problem(the_problem),
          results(the_results),
          n_layers(static_cast<Index>(the_problem.widths.size()) - 1) {
        for (const Index extent : problem.run_shape) n_runs *= extent;
        n_in = problem.widths.front();
        n_out = problem.widths.back();
        last_step = problem.first_step + problem.n_steps;
        if (n_runs > 0 && problem.input_cov.shared() && problem.cross_cov.shared()) {
            shared_moments = true;
            cov.assign(problem.input_cov.data, problem.input_cov.data + n_in * n_in);
            cross.assign(problem.cross_cov.data, problem.cross_cov.data + n_out * n_in);
            diagonal_cov = true;
            for (Index i = 0; i < n_in * n_in; ++i) {
                if (i % (n_in + 1) != 0 && problem.input_cov.data[i] != 0) diagonal_cov = false;
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
        // Decay is decided once for the batch: with a decay of 0 the extra term adds an exact zero.
        const auto every_decay_is_zero = [&] {
            for (Index run = 0; run < n_runs; ++run) {
                if (*problem.weight_decay.at(run, problem.run_shape) != 0) return false;
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
            for (Index l = 0; l < n_layers; ++l) {
                std::copy_n(problem.weights[static_cast<std::size_t>(l)].at(run, problem.run_shape),
                            layer_size(l), final_weights(run, l));
            }
        }
    }
    bool drained() const { return next_.load(std::memory_order_relaxed) >= n_runs; }

    Index layer_size(Index l) const {
        const auto at = static_cast<std::size_t>(l);
        return problem.widths[at] * problem.widths[at + 1];
    }
    T* final_weights(Index run, Index l) const {
        return results.final_weights[static_cast<std::size_t>(l)] + run * layer_size(l);
    }
    Index n_records() const { return static_cast<Index>(results.record_steps.size()); }

    const Problem<T>& problem;
    const Results<T>& results;
    Index n_layers, n_runs = 1, n_in, n_out, last_step;
    bool shared_moments = false, diagonal_cov = false, has_stop_rule = false, has_decay = false;
    std::vector<T> cov, cross;  ///< shared moments
    Wanted at_record, at_check;

private:
    std::atomic<Index> next_{0};
};

/// A run in training.
struct Slot {
    Index run = -1;
    Index step = 0;
    Index record = 0;  ///< the next one to write
    Index next = 0;    ///< the step of its next event; equal to step: due now
};

/// Takes the runs in its slots from event to event: records, stop rules, divergence, the end.
template <class T, class Machine, class ProbeMachine>
class Runner {
public:
    Runner(Batch<T>& batch, Progress& progress, Pulse& pulse, Machine machine,
           ProbeMachine probe_machine, double step_cost)
        : batch_(batch),
          progress_(progress),
          pulse_(pulse),
          machine_(std::move(machine)),
          probe_(std::move(probe_machine),
                 batch.shared_moments ? batch.problem.cross_cov.data : nullptr,
                 batch.n_out * batch.n_in),
          slots_(static_cast<std::size_t>(machine_.n_slots())),
          bad_(slots_.size()),
          block_(std::clamp<Index>(static_cast<Index>(2e7 / step_cost), 1, 4096)) {
        Index largest = std::max(batch.n_in * batch.n_in, batch.n_out * batch.n_in);
        for (Index l = 0; l < batch.n_layers; ++l) largest = std::max(largest, batch.layer_size(l));
        dense_.resize(static_cast<std::size_t>(largest));
        steps_.resize(static_cast<std::size_t>(batch.n_layers));
        cov_.resize(static_cast<std::size_t>(batch.n_in * batch.n_in));
        cross_.resize(static_cast<std::size_t>(batch.n_out * batch.n_in));
        for (std::size_t s = 0; s < slots_.size(); ++s) {
            if (batch.shared_moments && batch.n_runs > 0) set_shared_moments(static_cast<int>(s));
        }
    }

    Machine& machine() { return machine_; }
    int n_active() const { return n_active_; }

    /// Put a fresh run into a free slot.
    void load(int slot, Index run) {
        const Problem<T>& problem = batch_.problem;
        set_parameters(slot, run);
        for (Index l = 0; l < batch_.n_layers; ++l) {
            machine_.set_matrix(
                slot, id(l),
                problem.weights[static_cast<std::size_t>(l)].at(run, problem.run_shape));
        }
        Slot& s = at(slot);
        s = Slot{run, problem.first_step, 0, problem.first_step};
        ++n_active_;
    }

    /// Go on with a run that another runner has brought to where it is.
    template <class Other>
    void adopt(int slot, const Slot& from, int from_slot, const Other& other) {
        set_parameters(slot, from.run);
        for (Index l = 0; l < batch_.n_layers; ++l) {
            other.get_matrix(from_slot, id(l), dense_.data());
            machine_.set_matrix(slot, id(l), dense_.data());
        }
        at(slot) = from;
        ++n_active_;
    }

    /// Train what is in the slots, refilling free ones by `refill(slot)`, until none is left or `enough()`.
    /// False if asked to stop.
    template <class Refill, class Enough>
    bool work(const Refill& refill, const Enough& enough) {
        while (true) {
            // A slot that is refilled is due at once: its first step may be a record.
            for (bool again = true; again;) {
                if (!events()) return false;
                again = false;
                for (int s = 0; s < machine_.n_slots(); ++s) {
                    if (at(s).run < 0 && refill(s)) again = true;
                }
            }
            if (n_active_ == 0) return true;
            if (enough()) return true;
            machine_.checkpoint();
            Index n = block_;
            for (const Slot& slot : slots_) {
                if (slot.run >= 0) n = std::min(n, slot.next - slot.step);
            }
            if (!machine_.step(n)) return false;
            progress_.done.fetch_add(n * n_active_, std::memory_order_relaxed);
            if (machine_.find_non_finite(bad_)) {
                for (int s = 0; s < machine_.n_slots(); ++s) {
                    if (at(s).run >= 0 && bad_[static_cast<std::size_t>(s)] != 0) diverge(s, n);
                }
            }
            for (Slot& slot : slots_) slot.step += n;
            if (pulse_()) return false;
        }
    }

    /// Takes the next active slot out; false if there is none.
    bool release(int& slot, Slot& state) {
        for (int s = 0; s < machine_.n_slots(); ++s) {
            if (at(s).run >= 0) {
                slot = s;
                state = at(s);
                at(s).run = -1;
                --n_active_;
                return true;
            }
        }
        return false;
    }

    /// Let the machines ask whether to stop within long products.
    void set_pulse() {
        machine_.set_pulse([this] { return pulse_(); });
        probe_.machine().set_pulse([this] { return pulse_(); });
    }

    /// The machine on which diverged runs are gone through again, step by step.
    void set_replayer(DirectMachine<T>* replayer) { replayer_ = replayer; }

    void set_parameters(DirectMachine<T>& machine, Index run) {
        const Problem<T>& problem = batch_.problem;
        const double* const cov = problem.input_cov.at(run, problem.run_shape);
        const double* const cross = problem.cross_cov.at(run, problem.run_shape);
        set_moments(machine, 0, cov, cross);
        set_rates(machine, 0, run);
    }

private:
    Slot& at(int slot) { return slots_[static_cast<std::size_t>(slot)]; }
    int id(Index l) const { return machine_.plan().weights[static_cast<std::size_t>(l)]; }

    template <class AnyMachine>
    void set_moments(AnyMachine& machine, int slot, const double* cov, const double* cross) {
        if constexpr (std::is_same_v<T, double>) {
            machine.set_moments(slot, cov, cross);
        } else {
            std::copy_n(cov, batch_.n_in * batch_.n_in, cov_.begin());
            std::copy_n(cross, batch_.n_out * batch_.n_in, cross_.begin());
            machine.set_moments(slot, cov_.data(), cross_.data());
        }
    }
    template <class AnyMachine>
    void set_rates(AnyMachine& machine, int slot, Index run) {
        const Problem<T>& problem = batch_.problem;
        const double* const steps = problem.step_size.at(run, problem.run_shape);
        for (Index l = 0; l < batch_.n_layers; ++l)
            steps_[static_cast<std::size_t>(l)] = static_cast<T>(steps[l]);
        machine.set_rates(slot, steps_.data(),
                          static_cast<T>(*problem.weight_decay.at(run, problem.run_shape)));
    }
    void set_shared_moments(int slot) {
        const Problem<T>& problem = batch_.problem;
        machine_.set_moments(slot, batch_.cov.data(), batch_.cross.data());
        probe_.set_moments(slot, problem.input_cov.data, problem.cross_cov.data, 0);
    }
    void set_parameters(int slot, Index run) {
        const Problem<T>& problem = batch_.problem;
        const double power = *problem.output_power.at(run, problem.run_shape);
        if (batch_.shared_moments) {
            probe_.set_power(slot, power);
        } else {
            const double* const cov = problem.input_cov.at(run, problem.run_shape);
            const double* const cross = problem.cross_cov.at(run, problem.run_shape);
            set_moments(machine_, slot, cov, cross);
            probe_.set_moments(slot, cov, cross, power);
        }
        set_rates(machine_, slot, run);
        const double* const steps = problem.step_size.at(run, problem.run_shape);
        probe_.machine().set_rates(slot, steps, *problem.weight_decay.at(run, problem.run_shape));
    }

    /// Deal with every slot that is due. False if asked to stop.
    bool events() {
        constexpr int lanes = Machine::packed ? Machine::lanes : 1;
        const int n_slots = machine_.n_slots();
        // Groups that are due one after another are evaluated together.
        Wanted wanted;
        int first = 0;
        for (int group = 0; group <= n_slots; group += lanes) {
            const Wanted own = group < n_slots ? wanted_by(group, group + lanes) : Wanted{};
            if (own.any()) {
                probe_.machine().copy_weights(group, machine_);
                wanted = merged(wanted, own);
                continue;
            }
            if (first < group && !probe_.evaluate(wanted, first, group, pulse_)) return false;
            wanted = Wanted{};
            first = group + lanes;
        }
        for (int s = 0; s < n_slots; ++s) {
            if (at(s).run >= 0 && at(s).step == at(s).next) event(s);
        }
        return true;
    }
    /// What the slots that are due want to know.
    Wanted wanted_by(int first_slot, int last_slot) {
        Wanted wanted;
        for (int s = first_slot; s < last_slot; ++s) {
            const Slot& slot = at(s);
            if (slot.run < 0 || slot.step != slot.next) continue;
            if (is_record(slot)) wanted = merged(wanted, batch_.at_record);
            if (is_check(slot)) wanted = merged(wanted, batch_.at_check);
        }
        return wanted;
    }
    static Wanted merged(const Wanted& a, const Wanted& b) {
        return {a.loss || b.loss,           a.singular_values || b.singular_values,
                a.product || b.product,     a.layer_norms || b.layer_norms,
                a.imbalance || b.imbalance, a.gradient_norm || b.gradient_norm};
    }
    bool is_record(const Slot& slot) const {
        return slot.record < batch_.n_records() &&
               batch_.results.record_steps[static_cast<std::size_t>(slot.record)] == slot.step;
    }
    bool is_check(const Slot& slot) const {
        return batch_.has_stop_rule && slot.step % batch_.problem.check_every == 0;
    }
    void event(int s) {
        Slot& slot = at(s);
        const Problem<T>& problem = batch_.problem;
        if (is_record(slot)) {
            write_record(s);
            ++slot.record;
        }
        if (is_check(slot)) {
            const auto reached = [&](const RunArray<double>& limit, double value) {
                return limit.data != nullptr && value <= *limit.at(slot.run, problem.run_shape);
            };
            if (reached(problem.stop_loss, probe_.loss(s)) ||
                reached(problem.stop_gradient_norm, probe_.gradient_norm(s))) {
                finish(s, Status::converged, machine_);
                return;
            }
        }
        if (slot.step == batch_.last_step) {
            finish(s, Status::completed, machine_);
            return;
        }
        slot.next = batch_.last_step;
        if (slot.record < batch_.n_records()) {
            slot.next = std::min(
                slot.next, static_cast<Index>(
                               batch_.results.record_steps[static_cast<std::size_t>(slot.record)]));
        }
        if (batch_.has_stop_rule) {
            const Index past = slot.step % problem.check_every;
            if (slot.next - slot.step > problem.check_every - past)
                slot.next = slot.step + problem.check_every - past;
        }
    }
    void write_record(int s) {
        const Slot& slot = at(s);
        const Results<T>& results = batch_.results;
        const Index place = slot.run * batch_.n_records() + slot.record;
        const auto cell = [&](double* base, Index size) {
            return base == nullptr ? nullptr : base + place * size;
        };
        if (results.loss != nullptr) results.loss[place] = probe_.loss(s);
        if (results.gradient_norm != nullptr)
            results.gradient_norm[place] = probe_.gradient_norm(s);
        ObservedArrays to;
        to.singular_values = cell(results.singular_values, std::min(batch_.n_in, batch_.n_out));
        to.product = cell(results.product, batch_.n_in * batch_.n_out);
        to.layer_norms = cell(results.layer_norms, batch_.n_layers);
        to.imbalance = cell(results.imbalance, batch_.n_layers - 1);
        probe_.write(s, to);
        for (std::size_t l = 0; l < results.weights.size(); ++l) {
            const auto layer = static_cast<Index>(l);
            machine_.get_matrix(s, id(layer),
                                results.weights[l] + place * batch_.layer_size(layer));
        }
    }
    template <class AnyMachine>
    void finish(int s, Status status, const AnyMachine& machine) {
        Slot& slot = at(s);
        for (Index l = 0; l < batch_.n_layers; ++l) {
            machine.get_matrix(machine.n_slots() == 1 ? 0 : s, id(l),
                               batch_.final_weights(slot.run, l));
        }
        batch_.results.status[slot.run] = static_cast<std::int8_t>(status);
        batch_.results.stopped_at[slot.run] = slot.step;
        progress_.done.fetch_add(batch_.last_step - slot.step, std::memory_order_relaxed);
        slot.run = -1;
        --n_active_;
    }
    /// The weights went out of bounds somewhere in the last n steps: find out where.
    void diverge(int s, Index n) {
        DirectMachine<T>& replayer = *replayer_;
        Slot& slot = at(s);
        if (static_cast<void*>(&replayer) != static_cast<void*>(&machine_))
            set_parameters(replayer, slot.run);
        for (Index l = 0; l < batch_.n_layers; ++l) {
            machine_.get_checkpoint(s, id(l), dense_.data());
            replayer.set_matrix(0, id(l), dense_.data());
        }
        Index taken = 0;
        do {
            replayer.step(1);
            ++taken;
        } while (taken < n && !replayer.find_non_finite(replayed_bad_));
        progress_.done.fetch_sub(n - taken, std::memory_order_relaxed);
        slot.step += taken;
        finish(s, Status::diverged, replayer);
    }

    Batch<T>& batch_;
    Progress& progress_;
    Pulse& pulse_;
    Machine machine_;
    Probe<ProbeMachine> probe_;
    DirectMachine<T>* replayer_ = nullptr;
    std::vector<Slot> slots_;
    std::vector<char> bad_, replayed_bad_ = std::vector<char>(1);
    Index block_;
    int n_active_ = 0;
    std::vector<T> dense_, steps_, cov_, cross_;
};

template <class T>
using DirectRunner = Runner<T, DirectMachine<T>, DirectMachine<double>>;
template <class T>
using LaneRunner = Runner<T, LaneMachine<T>, LaneMachine<double>>;

/// Lane groups that take turns: several while they are so small that one cannot hide its own latency.
template <class T>
int lane_groups(const Plan& plan, Index runs_per_worker) {
    Index entries = 0;
    for (const Plan::Matrix& m : plan.matrices) entries += m.rows * m.cols;
    const Index by_size = entries <= 40 ? 4 : entries <= 600 ? 2 : 1;
    const Index by_runs = (runs_per_worker + native_lanes<T> - 1) / native_lanes<T>;
    return static_cast<int>(std::max<Index>(1, std::min(by_size, by_runs)));
}

}  // namespace

const char* message(Status status) {
    switch (status) {
        case Status::completed:
            return "all steps were taken";
        case Status::converged:
            return "a stop rule was met";
        case Status::diverged:
            return "the weights became infinite or NaN";
    }
    return "unknown status";
}

template <class T>
bool train(const Problem<T>& problem, const Results<T>& results, const Control& control) {
    Batch<T> batch(problem, results);
    if (batch.n_runs == 0) return true;
    const Plan plan = training_plan(problem.widths, batch.diagonal_cov);
    const Plan probe_plan = gradient_plan(problem.widths, batch.diagonal_cov);
    const Costs costs = Costs::of<T>(plan);
    const auto n_workers =
        static_cast<int>(std::min<Index>(std::max(control.n_threads, 1), batch.n_runs));
    const Index share = (batch.n_runs + n_workers - 1) / n_workers;
    // Lanes cost the same however many of them are in use.
    const double fewest_lanes = costs.has_large_product ? std::numeric_limits<double>::infinity()
                                                        : costs.lanes / costs.direct;
    const bool use_lanes =
        fewest_lanes <= std::min<double>(native_lanes<T>, static_cast<double>(share));

    Progress progress;
    run_workers(n_workers, progress, control.poll, [&](int /*worker*/, Pulse& pulse) {
        DirectRunner<T> direct(batch, progress, pulse, DirectMachine<T>(plan, batch.has_decay),
                               DirectMachine<double>(probe_plan, false), costs.direct);
        direct.set_replayer(&direct.machine());
        direct.set_pulse();
        const auto claim_into = [&batch](auto& runner) {
            return [&batch, &runner](int slot) {
                const Index run = batch.claim();
                if (run >= 0) runner.load(slot, run);
                return run >= 0;
            };
        };
        const auto never = [] { return false; };
        if (use_lanes) {
            const int n_groups = lane_groups<T>(plan, share);
            const int probe_groups = n_groups * native_lanes<T> / native_lanes<double>;
            const bool shared = batch.shared_moments;
            LaneRunner<T> lanes(
                batch, progress, pulse,
                LaneMachine<T>(plan, n_groups, shared ? batch.cov.data() : nullptr,
                               shared ? batch.cross.data() : nullptr, batch.has_decay),
                LaneMachine<double>(probe_plan, probe_groups,
                                    shared ? problem.input_cov.data : nullptr,
                                    shared ? problem.cross_cov.data : nullptr, false),
                costs.lanes * n_groups);
            lanes.set_replayer(&direct.machine());
            // No worker takes more than its share at first, so that few runs spread over all workers.
            Index taken = 0;
            const auto claim = claim_into(lanes);
            const auto refill = [&](int slot) {
                if (taken < lanes.machine().n_slots() && taken >= share) return false;
                ++taken;
                return claim(slot);
            };
            const auto enough = [&] { return batch.drained() && lanes.n_active() < fewest_lanes; };
            if (!lanes.work(refill, enough)) return;
            int slot = 0;
            Slot state;
            while (lanes.release(slot, state)) {
                direct.adopt(0, state, slot, lanes.machine());
                if (!direct.work([](int) { return false; }, never)) return;
            }
        }
        direct.work(claim_into(direct), never);
    });
    return !progress.stop.load();
}

template bool train<double>(const Problem<double>&, const Results<double>&, const Control&);
template bool train<float>(const Problem<float>&, const Results<float>&, const Control&);

}  // namespace linnet
