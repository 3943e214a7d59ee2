// Takes runs through gradient descent.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/parallel.hpp"
#include "engines/direct_machine.hpp"
#include "engines/lane_machine.hpp"
#include "linnet/train.hpp"
#include "observables/probe.hpp"
#include "runs/batch.hpp"

namespace linnet {

/// A run in training.
struct DescentSlot {
    Index run = -1;
    Index step = 0;
    Index record = 0;    ///< the next one to write
    Index next = 0;      ///< the step of its next event; equal to step: due now
    double elapsed = 0;  ///< with a step rule: the sum of the steps before
};

/// Takes the runs in its slots from event to event: records, stop rules, divergence, the end.
template <class T, class Machine, class ProbeMachine>
class DescentRunner {
public:
    using State = DescentSlot;

    /// replayer: the machine on which diverged runs are gone through again, step by step; that of
    /// single runs does it itself.
    DescentRunner(Batch<T>& batch, const Descent& descent, Progress& progress, Pulse& pulse,
                  Machine machine, ProbeMachine probe_machine, double step_cost,
                  DirectMachine<T>* replayer = nullptr)
        : batch_(batch),
          descent_(descent),
          last_step_(descent.first_step + descent.n_steps),
          progress_(progress),
          pulse_(pulse),
          machine_(std::move(machine)),
          probe_(batch.probe(std::move(probe_machine))),
          replayer_(replayer),
          slots_(static_cast<std::size_t>(machine_.n_slots())),
          bad_(slots_.size()),
          block_(std::clamp<Index>(static_cast<Index>(2e7 / step_cost), 1,
                                   batch.problem.loss.declaration().is_called ? 16 : 4096)) {
        Index largest = 0;
        for (Index l = 0; l < batch.n_layers; ++l) largest = std::max(largest, batch.layer_size(l));
        dense_.resize(static_cast<std::size_t>(largest));
        steps_.resize(static_cast<std::size_t>(batch.n_layers));
        parameters_.resize(descent.update.parameters.size());
        if (batch.needs_scales) {
            const Index n_memories = batch.n_persistent() / batch.n_layers - 1;
            remembered_.resize(static_cast<std::size_t>(n_memories * largest));
            Index n_weights = 0;
            for (const Index size : batch.problem.chain.sizes) n_weights += size;
            scales_.resize(static_cast<std::size_t>(n_weights));
        }
        if constexpr (!Machine::packed) {
            replayer_ = &machine_;
            // The machines ask whether to stop within long products.
            machine_.set_pulse([this] { return pulse_(); });
            probe_.machine().set_pulse([this] { return pulse_(); });
        }
        probe_.set_pulse([this] { return pulse_(); });
        batch.set_shared_moments(machine_);
        batch.set_shared_moments(probe_.machine());
    }

    DescentRunner(const DescentRunner&) = delete;
    DescentRunner& operator=(const DescentRunner&) = delete;

    Machine& machine() { return machine_; }
    int n_slots() const { return machine_.n_slots(); }
    int n_active() const { return n_active_; }

    /// Put a fresh run into a free slot.
    void load(int slot, Index run) {
        const double elapsed = has_rule() ? batch_.scalar(descent_.elapsed, run) : 0;
        at(slot) = DescentSlot{run, descent_.first_step, 0, descent_.first_step, elapsed};
        set_parameters(slot);
        for (Index k = 0; k < batch_.n_persistent() && !pulse_(); ++k)
            machine_.set_matrix(slot, id(k), batch_.start(run, k));
        ++n_active_;
    }

    /// Go on with a run that another runner has brought to where it is.
    template <class Other>
    void adopt(int slot, const DescentSlot& from, int from_slot, const Other& other) {
        at(slot) = from;
        set_parameters(slot);
        for (Index k = 0; k < batch_.n_persistent(); ++k) {
            other.get_persistent(from_slot, k, dense_.data());
            machine_.set_matrix(slot, id(k), dense_.data());
        }
        ++n_active_;
    }
    void get_persistent(int slot, Index k, T* dense) const {
        machine_.get_matrix(slot, id(k), dense);
    }

    /// Train what is in the slots, refilling free ones by `refill(slot)`, until none is left or
    /// `enough()`. False if asked to stop.
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
            for (int s = 0; s < machine_.n_slots() && has_rule(); ++s)
                at(s).elapsed = machine_.steering().steps->elapsed(s);
            Index n = block_;
            for (const DescentSlot& slot : slots_) {
                if (slot.run >= 0) n = std::min(n, slot.next - slot.step);
            }
            if (!machine_.step(n)) return false;
            progress_.done.fetch_add(n * n_active_, std::memory_order_relaxed);
            if (machine_.find_non_finite(bad_)) {
                for (int s = 0; s < machine_.n_slots(); ++s) {
                    if (at(s).run >= 0 && bad_[static_cast<std::size_t>(s)] != 0) diverge(s, n);
                }
            }
            for (DescentSlot& slot : slots_) slot.step += n;
            if (pulse_()) return false;
        }
    }

    /// Takes the next active slot out; false if there is none.
    bool release(int& slot, DescentSlot& state) {
        for (int s = 0; s < machine_.n_slots(); ++s) {
            if (at(s).run >= 0) {
                slot = s;
                state = at(s);
                if (has_rule()) state.elapsed = machine_.steering().steps->elapsed(s);
                at(s).run = -1;
                --n_active_;
                return true;
            }
        }
        return false;
    }

private:
    DescentSlot& at(int slot) { return slots_[static_cast<std::size_t>(slot)]; }
    bool has_rule() const { return descent_.rule != StepKind::constant; }
    /// Where a run is on its way, for what depends on it.
    template <class AnyMachine>
    void set_steering(AnyMachine& machine, int slot, const DescentSlot& state) {
        auto& steering = machine.steering();
        if (steering.loss != nullptr) steering.loss->set_run(slot, state.run, state.step);
        if (steering.update != nullptr) {
            for (std::size_t k = 0; k < parameters_.size(); ++k)
                parameters_[k] = batch_.scalar(descent_.update.parameters[k], state.run);
            steering.update->set(slot, parameters_, state.step - descent_.update.remembers_from);
        }
        if (steering.ascent != nullptr)
            steering.ascent->set(slot, batch_.scalar(descent_.radius, state.run));
        if (steering.noise != nullptr) steering.noise->set_run(slot, state.run, state.step);
        if (!has_rule()) return;
        const double* const multipliers =
            descent_.step_size.at(state.run, batch_.problem.run_shape);
        for (Index l = 0; l < batch_.n_layers; ++l)
            steps_[static_cast<std::size_t>(l)] = static_cast<T>(multipliers[l]);
        steering.steps->set(
            slot, steps_.data(), batch_.scalar(descent_.scale, state.run),
            {descent_.parameters.at(state.run, batch_.problem.run_shape), descent_.n_boundaries},
            static_cast<double>(state.step), state.elapsed);
    }
    int id(Index k) const { return machine_.plan().persistent(k); }

    template <class AnyMachine>
    void set_rates(AnyMachine& machine, int slot, Index run) {
        const Problem<T>& problem = batch_.problem;
        machine.set_rates(slot, descent_.step_size.at(run, problem.run_shape), batch_.decays(run));
    }
    void set_parameters(int slot) {
        const Index run = at(slot).run;
        set_steering(machine_, slot, at(slot));
        batch_.set_run(probe_, slot, run);
        batch_.set_own_moments(machine_, slot, run);
        set_rates(machine_, slot, run);
        set_rates(probe_.machine(), slot, run);
    }

    /// What a slot's run has of its own, on the machine that replays it.
    void set_parameters(DirectMachine<T>& machine, const DescentSlot& slot) {
        batch_.set_own_moments(machine, 0, slot.run);
        set_rates(machine, 0, slot.run);
        set_steering(machine, 0, slot);
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
                for (int s = group; s < group + lanes && own.any_measure(); ++s) set_scales(s);
                wanted |= own;
                continue;
            }
            if (first < group && !probe_.evaluate(wanted, first, group, std::ref(pulse_)))
                return false;
            wanted = Wanted{};
            first = group + lanes;
        }
        for (int s = 0; s < n_slots; ++s) {
            if (at(s).run >= 0 && at(s).step == at(s).next) event(s);
        }
        return true;
    }
    /// Tell the probe by what the method divides the gradients of a run, if it is to know that.
    void set_scales(int slot) {
        auto* const update = machine_.steering().update.get();
        if (scales_.empty() || at(slot).run < 0 || update == nullptr) return;
        const Index n_memories = batch_.n_persistent() / batch_.n_layers - 1;
        Index first = 0;
        for (Index l = 0; l < batch_.n_layers; ++l) {
            const Index size = batch_.layer_size(l);
            for (Index k = 0; k < n_memories; ++k) {
                machine_.get_matrix(slot, id((k + 1) * batch_.n_layers + l), dense_.data());
                std::copy_n(dense_.begin(), size, remembered_.begin() + k * size);
            }
            update->find_scales(slot, remembered_.data(), size, scales_.data() + first);
            first += size;
        }
        probe_.set_scales(slot, scales_.data(), descent_.update.decoupled);
    }
    /// What the slots that are due want to know.
    Wanted wanted_by(int first_slot, int last_slot) {
        Wanted wanted;
        for (int s = first_slot; s < last_slot; ++s) {
            const DescentSlot& slot = at(s);
            if (slot.run < 0 || slot.step != slot.next) continue;
            if (is_record(slot)) wanted |= batch_.at_record;
            if (is_check(slot)) wanted |= batch_.at_check;
        }
        return wanted;
    }
    bool is_record(const DescentSlot& slot) const {
        return slot.record < batch_.n_records && next_record(slot) == slot.step;
    }
    Index next_record(const DescentSlot& slot) const {
        return static_cast<Index>(descent_.record_steps[static_cast<std::size_t>(slot.record)]);
    }
    bool is_check(const DescentSlot& slot) const {
        return batch_.has_stop_rule && slot.step % descent_.check_every == 0;
    }
    void event(int s) {
        DescentSlot& slot = at(s);
        if (is_record(slot)) {
            batch_.write_record(probe_, s, slot.run, slot.record);
            batch_.write_weights(machine_, s, slot.run, slot.record);
            if (has_rule()) {
                batch_.results.time[slot.run * batch_.n_records + slot.record] =
                    machine_.steering().steps->elapsed(s);
            }
            ++slot.record;
        }
        if (is_check(slot) && batch_.is_converged(probe_, s, slot.run)) {
            finish(s, Status::converged, machine_);
            return;
        }
        if (slot.step == last_step_) {
            finish(s, Status::completed, machine_);
            return;
        }
        slot.next = last_step_;
        if (slot.record < batch_.n_records) slot.next = std::min(slot.next, next_record(slot));
        if (batch_.has_stop_rule) {
            const Index past = slot.step % descent_.check_every;
            if (slot.next - slot.step > descent_.check_every - past)
                slot.next = slot.step + descent_.check_every - past;
        }
    }
    template <class AnyMachine>
    void finish(int s, Status status, AnyMachine& machine) {
        DescentSlot& slot = at(s);
        const int place = machine.n_slots() == 1 ? 0 : s;
        for (Index k = 0; k < batch_.n_persistent(); ++k)
            machine.get_matrix(place, id(k), batch_.final_state(slot.run, k));
        if (has_rule()) batch_.results.elapsed[slot.run] = machine.steering().steps->elapsed(place);
        batch_.results.status[slot.run] = static_cast<std::int8_t>(status);
        batch_.results.stopped_at[slot.run] = slot.step;
        progress_.done.fetch_add(last_step_ - slot.step, std::memory_order_relaxed);
        slot.run = -1;
        --n_active_;
        if (machine_.steering().loss != nullptr) machine_.steering().loss->set_run(s, -1, 0);
        probe_.set_run(s, -1);
    }
    /// The weights went out of bounds somewhere in the last n steps: find out where.
    void diverge(int s, Index n) {
        DirectMachine<T>& replayer = *replayer_;
        DescentSlot& slot = at(s);
        if (static_cast<void*>(&replayer) != static_cast<void*>(&machine_))
            set_parameters(replayer, slot);
        set_steering(replayer, 0, slot);
        for (Index k = 0; k < batch_.n_persistent(); ++k) {
            machine_.get_checkpoint(s, id(k), dense_.data());
            replayer.set_matrix(0, id(k), dense_.data());
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
    const Descent& descent_;
    Index last_step_;
    Progress& progress_;
    Pulse& pulse_;
    Machine machine_;
    Probe<ProbeMachine> probe_;
    DirectMachine<T>* replayer_;
    std::vector<DescentSlot> slots_;
    std::vector<char> bad_, replayed_bad_ = std::vector<char>(1);
    Index block_;
    int n_active_ = 0;
    std::vector<T> dense_, steps_;
    std::vector<double> parameters_;
    std::vector<double> remembered_, scales_;  // where measures need them
};

template <class T>
using DirectDescent = DescentRunner<T, DirectMachine<T>, DirectMachine<double>>;
template <class T>
using LaneDescent = DescentRunner<T, LaneMachine<T>, LaneMachine<double>>;

}  // namespace linnet
