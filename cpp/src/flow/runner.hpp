// Takes runs along their gradient flows.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/parallel.hpp"
#include "engines/direct_machine.hpp"
#include "engines/lane_machine.hpp"
#include "flow/chebyshev.hpp"
#include "flow/direction_control.hpp"
#include "flow/dormand_prince.hpp"
#include "flow/growth_limit.hpp"
#include "flow/state.hpp"
#include "linnet/train.hpp"
#include "observables/probe.hpp"
#include "runs/batch.hpp"

namespace linnet {

/// Takes the runs in its slots through time: steps, records by dense output, stop rules, the end.
template <class Machine, class ProbeMachine>
class FlowRunner {
public:
    using State = FlowSlot;
    using V = typename FlowState<Machine>::V;
    static constexpr int lanes = FlowState<Machine>::lanes;

    FlowRunner(const Batch<double>& batch, const Flow& flow, Progress& progress, Pulse& pulse,
               Machine machine, ProbeMachine probe_machine)
        : batch_(batch),
          flow_(flow),
          progress_(progress),
          pulse_(pulse),
          state_(batch, flow, std::move(machine)),
          direction_(state_),
          stepper_(state_, direction_),
          stiff_(state_),
          growth_(state_),
          probe_(batch.probe(std::move(probe_machine))),
          is_new_(static_cast<std::size_t>(state_.n_groups)) {
        Index largest = 0;
        for (Index l = 0; l < batch.n_layers; ++l) largest = std::max(largest, batch.layer_size(l));
        dense_.resize(static_cast<std::size_t>(largest));
        for (std::vector<int>* list : {&fresh_, &taken_, &due_, &asked_}) list->reserve(lanes);
        if constexpr (!Machine::packed) {
            // The machines ask whether to stop within long products.
            state_.machine.set_pulse([this] { return pulse_(); });
            probe_.machine().set_pulse([this] { return pulse_(); });
        }
        batch.set_shared_moments(probe_.machine());
        probe_.set_pulse([this] { return pulse_(); });
    }
    FlowRunner(const FlowRunner&) = delete;
    FlowRunner& operator=(const FlowRunner&) = delete;

    int n_slots() const { return state_.machine.n_slots(); }
    int n_active() const { return n_active_; }

    /// Put a fresh run into a free slot.
    void load(int slot, Index run) {
        prepare(slot, run);
        for (Index l = 0; l < batch_.n_layers && !pulse_(); ++l)
            state_.set_weights(slot, l, batch_.start(run, l));
        at(slot) = FlowSlot{};
        at(slot).run = run;
        at(slot).is_stiff = flow_.kind == FlowKind::stiff;
        at(slot).time = flow_.from.data == nullptr ? flow_.begin : batch_.scalar(flow_.from, run);
        ++n_active_;
    }
    /// Go on with a run that another runner has brought to where it is.
    template <class Other>
    void adopt(int slot, const FlowSlot& from, int from_slot, const Other& other) {
        prepare(slot, from.run);
        for (Index l = 0; l < batch_.n_layers; ++l) {
            other.get_weights(from_slot, l, dense_.data());
            state_.set_weights(slot, l, dense_.data());
        }
        at(slot) = from;
        ++n_active_;
    }
    void get_weights(int slot, Index l, double* dense) const { state_.get_weights(slot, l, dense); }

    /// Train what is in the slots, refilling free ones by `refill(slot)`, until none is left or
    /// `enough()`. False if asked to stop.
    template <class Refill, class Enough>
    bool work(const Refill& refill, const Enough& enough) {
        while (true) {
            // A run may be over as soon as it is loaded.
            for (bool again = true; again;) {
                again = false;
                for (int s = 0; s < n_slots(); ++s) {
                    if (at(s).run < 0 && refill(s)) again = true;
                }
                if (!begin()) return false;
            }
            if (n_active_ == 0 || enough()) return true;
            for (int group = 0; group < state_.n_groups; ++group) {
                if (!step(group)) return false;
            }
            if (pulse_()) return false;
        }
    }

    /// Takes the next active slot out; false if there is none.
    bool release(int& slot, FlowSlot& state) {
        for (int s = 0; s < n_slots(); ++s) {
            if (at(s).run < 0) continue;
            slot = s;
            state = at(s);
            at(s).run = -1;
            --n_active_;
            return true;
        }
        return false;
    }

private:
    FlowSlot& at(int slot) { return state_.at(slot); }
    static double read(const V& x, int slot) { return FlowState<Machine>::read(x, slot); }
    static void put(V& x, int slot, double value) { FlowState<Machine>::put(x, slot, value); }

    void prepare(int slot, Index run) {
        is_new_[static_cast<std::size_t>(slot / lanes)] = 1;
        state_.set_parameters(slot, run);
        batch_.set_run(probe_, slot, run);
        if (direction_.is_on())
            direction_.set_direction(slot,
                                     batch_.problem.direction.at(run, batch_.problem.run_shape));
        probe_.machine().set_rates(slot, state_.no_rates.data(), batch_.decays(run));
    }

    /// Slopes and first steps of groups with new runs; records and stop rules where a run begins.
    bool begin() {
        for (int group = 0; group < state_.n_groups; ++group) {
            if (is_new_[static_cast<std::size_t>(group)] == 0) continue;
            is_new_[static_cast<std::size_t>(group)] = 0;
            // Runs that are under way get the slopes they have: same weights, same bits.
            const auto start = [&](V* to) { std::copy_n(state_.here(group), state_.size, to); };
            start(state_.machine.weights(group));
            if (!stepper_.start(group)) return false;
            const V first = stepper_.first_step(group);
            taken_.clear();  // of those of the last step, whose next one has its size already
            for (int s = group * lanes; s < (group + 1) * lanes; ++s) {
                FlowSlot& slot = at(s);
                if (slot.run < 0 || slot.step >= 0) continue;
                double step = read(first, s);
                if (!(step > 0)) step = 1e-4 * (flow_.until - slot.time);
                slot.step = step;
                fresh_.push_back(s);
                // What does not move does not grow either.
                if (!std::isinf(step) && !slot.is_stiff) taken_.push_back(s);
            }
            growth_.shorten(group, taken_);
            if (direction_.is_on() && !fresh_.empty()) {
                if (!direction_.classify(probe_.machine(), group, start, resolved_)) return false;
                for (const int s : fresh_) at(s).is_aligned = read(resolved_, s) == 2;
            }
            if (!fresh_.empty() && batch_.n_records > 0 && flow_.record_times[0] == flow_.begin) {
                if (!look(group, start)) return false;
                for (const int s : fresh_) {
                    if (at(s).time == flow_.begin) record(s);
                }
            }
            if (!fresh_.empty() && !check(group, fresh_, start)) return false;
            for (const int s : fresh_) {
                if (at(s).run >= 0 && at(s).time == flow_.until) finish(s, Status::completed);
            }
            fresh_.clear();
        }
        return true;
    }
    /// One step of every run in a group, taken or refused; false if asked to stop.
    bool step(int group) {
        if (!step_by(stepper_, group)) return false;
        if (flow_.kind == FlowKind::exact) return true;
        if (!step_by(stiff_, group)) return false;
        return flow_.kind == FlowKind::stiff || choose(group);
    }
    /// Let the runs of a group that ask for another method go on with it.
    bool choose(int group) {
        asked_.clear();
        for (int s = group * lanes; s < (group + 1) * lanes; ++s) {
            FlowSlot& slot = at(s);
            if (slot.run < 0) continue;
            if (slot.is_stiff) {
                slot.is_stiff = !stiff_.is_tame(slot);
            } else if (slot.n_steps % ask_every == 0) {
                asked_.push_back(s);
            }
        }
        if (asked_.empty()) return true;
        if (!stiff_.measure(group, asked_)) return false;
        for (const int s : asked_) {
            FlowSlot& slot = at(s);
            slot.is_stiff = stiff_.is_stiff(slot);
            slot.stiff_since = slot.n_steps;
            slot.age = -1;
        }
        return true;
    }
    /// The same for those that go by one method.
    template <class Stepper>
    bool step_by(Stepper& stepper, int group) {
        if (!stepper.prepare(group)) return false;
        V step{};
        bool any_active = false;
        double tried[lanes] = {};
        double next_time[lanes] = {};
        for (int r = 0; r < lanes; ++r) {
            const FlowSlot& slot = at(group * lanes + r);
            if (slot.run < 0 || slot.is_stiff != Stepper::for_stiff) continue;
            any_active = true;
            // The end is met exactly, and not by a last step that is much smaller than the one
            // before.
            const double left = flow_.until - slot.time;
            const double most = Stepper::for_stiff ? std::min(slot.step, slot.longest) : slot.step;
            tried[r] = most >= left ? left : most > left / 2 ? left / 2 : most;
            next_time[r] = tried[r] == left ? flow_.until : slot.time + tried[r];
            put(step, r, tried[r]);
        }
        if (!any_active) return true;
        V error{};
        if (!stepper.go_through(group, step, error)) return false;
        const V factor = stepper.step_factor(error);

        const V* next = state_.machine.weights(group);
        taken_.clear();
        bool is_record = false;
        for (int r = 0; r < lanes; ++r) {
            const int s = group * lanes + r;
            FlowSlot& slot = at(s);
            if (slot.run < 0 || slot.is_stiff != Stepper::for_stiff) continue;
            ++slot.n_steps;
            if (!stepper.accept(slot, tried[r], read(error, s), read(factor, s))) continue;
            taken_.push_back(s);
            is_record = is_record || is_due(slot, next_time[r]);
        }
        if constexpr (!Stepper::for_stiff) growth_.shorten(group, taken_);
        if (is_record && !write_records(stepper, group, step, next_time, next)) return false;
        for (const int s : taken_) {
            progress_.done.fetch_add(thousandths(next_time[s % lanes]) - thousandths(at(s).time),
                                     std::memory_order_relaxed);
            at(s).time = next_time[s % lanes];
        }
        stepper_.advance(group, next, taken_);
        if (!check(group, taken_, [&](V* to) { std::copy_n(next, state_.size, to); })) return false;
        for (int s = group * lanes; s < (group + 1) * lanes; ++s) {
            const FlowSlot& slot = at(s);
            if (slot.run < 0 || slot.is_stiff != Stepper::for_stiff) continue;
            if (slot.time == flow_.until) {
                finish(s, Status::completed);
            } else if (slot.time + slot.step == slot.time) {
                finish(s, Status::diverged);
            } else if (slot.n_steps >= flow_.max_steps) {
                finish(s, Status::exhausted);
            }
        }
        return true;
    }

    bool is_due(const FlowSlot& slot, double until) const {
        return slot.record < batch_.n_records &&
               flow_.record_times[static_cast<std::size_t>(slot.record)] <= until;
    }
    /// Write the records between here and next_time of the slots that take their step to `next`,
    /// which may be put elsewhere.
    template <class Stepper>
    bool write_records(Stepper& stepper, int group, V step, const double* next_time,
                       const V*& next) {
        bool inside = false;
        for (const int s : taken_) {
            const auto first = static_cast<std::size_t>(at(s).record);
            inside = inside || (is_due(at(s), next_time[s % lanes]) &&
                                flow_.record_times[first] < next_time[s % lanes]);
        }
        if (inside && !stepper.prepare_dense_output(group, step, next)) return false;
        // One record of each slot at a time.
        while (true) {
            due_.clear();
            V part = broadcast<V>(1);
            for (const int s : taken_) {
                const FlowSlot& slot = at(s);
                const double end = next_time[s % lanes];
                if (!is_due(slot, end)) continue;
                due_.push_back(s);
                const double time = flow_.record_times[static_cast<std::size_t>(slot.record)];
                put(part, s, time == end ? 1 : (time - slot.time) / (end - slot.time));
            }
            if (due_.empty()) return true;
            const auto interpolate = [&](V* to) { stepper.interpolate(group, part, next, to); };
            if (!look(group, interpolate)) return false;
            for (const int s : due_) record(s);
        }
    }
    /// The same for a record.
    template <class Fill>
    bool look(int group, const Fill& fill) {
        resolved_ = broadcast<V>(1);
        if (direction_.is_on() && !direction_.classify(probe_.machine(), group, fill, resolved_))
            return false;
        return observe(group, batch_.at_record, fill);
    }
    /// Let the probe look at what `fill` writes as the weights of a group.
    template <class Fill>
    bool observe(int group, const Wanted& wanted, const Fill& fill) {
        fill(probe_.machine().weights(group));
        return !wanted.any() ||
               probe_.evaluate(wanted, group * lanes, (group + 1) * lanes, std::ref(pulse_));
    }
    void record(int s) {
        FlowSlot& slot = at(s);
        batch_.write_record(probe_, s, slot.run, slot.record);
        const double resolved = read(resolved_, s);
        if (resolved == 0 || (resolved == 2 && !slot.is_aligned))
            batch_.clear_direction(slot.run, slot.record);
        batch_.write_weights(probe_.machine(), s, slot.run, slot.record);
        ++slot.record;
    }
    /// End the runs among `which` that have met a stop rule.
    template <class Fill>
    bool check(int group, const std::vector<int>& which, const Fill& fill) {
        if (!batch_.has_stop_rule || which.empty()) return true;
        if (!observe(group, batch_.at_check, fill)) return false;
        for (const int s : which) {
            if (batch_.is_converged(probe_, s, at(s).run)) finish(s, Status::converged);
        }
        return true;
    }
    void finish(int s, Status status) {
        FlowSlot& slot = at(s);
        for (Index l = 0; l < batch_.n_layers; ++l)
            get_weights(s, l, batch_.final_state(slot.run, l));
        batch_.results.status[slot.run] = static_cast<std::int8_t>(status);
        batch_.results.stopped_time[slot.run] = slot.time;
        batch_.results.n_steps_taken[slot.run] = slot.n_steps;
        progress_.done.fetch_add(thousandths(flow_.until) - thousandths(slot.time),
                                 std::memory_order_relaxed);
        slot.run = -1;
        --n_active_;
        state_.set_run(s, -1);
        probe_.set_run(s, -1);
    }
    std::int64_t thousandths(double time) const {
        if (time == flow_.until) return 1000;
        if (time <= flow_.begin) return 0;
        return static_cast<std::int64_t>(1000 *
                                         ((time - flow_.begin) / (flow_.until - flow_.begin)));
    }

    static constexpr Index ask_every = 1000;  ///< steps between looks at whether a run is stiff

    const Batch<double>& batch_;
    const Flow& flow_;
    Progress& progress_;
    Pulse& pulse_;
    FlowState<Machine> state_;
    DirectionControl<Machine> direction_;
    DormandPrince<Machine> stepper_;
    Chebyshev<Machine> stiff_;
    GrowthLimit<Machine> growth_;
    Probe<ProbeMachine> probe_;
    V resolved_{};  // of the directions in what the probe looks at: see DirectionControl::classify
    std::vector<char> is_new_;  // per group: are there runs whose slopes are not known yet?
    int n_active_ = 0;
    std::vector<double> dense_;
    std::vector<int> fresh_, taken_, due_, asked_;
};

using DirectFlow = FlowRunner<DirectMachine<double>, DirectMachine<double>>;
using LaneFlow = FlowRunner<LaneMachine<double>, LaneMachine<double>>;

}  // namespace linnet
