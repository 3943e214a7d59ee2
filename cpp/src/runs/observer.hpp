// Looks at runs where they stand.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "base/parallel.hpp"
#include "observables/probe.hpp"
#include "runs/batch.hpp"

namespace linnet {

/// A run to be looked at.
struct ObserverSlot {
    Index run = -1;
};

/// Writes the one record of every run in its slots, and lets it go. A runner as work_through()
/// takes it.
template <class T, class Machine>
class Observer {
public:
    using State = ObserverSlot;

    Observer(Batch<T>& batch, Pulse& pulse, Machine machine)
        : batch_(batch),
          pulse_(pulse),
          probe_(batch.probe(std::move(machine))),
          no_rates_(static_cast<std::size_t>(batch.n_layers)),
          slots_(static_cast<std::size_t>(probe_.machine().n_slots())) {
        Index largest = 0;
        for (Index l = 0; l < batch.n_layers; ++l) largest = std::max(largest, batch.layer_size(l));
        dense_.resize(static_cast<std::size_t>(largest));
        if constexpr (!Machine::packed) probe_.machine().set_pulse([this] { return pulse_(); });
        probe_.set_pulse([this] { return pulse_(); });
        batch.set_shared_moments(probe_.machine());
    }
    Observer(const Observer&) = delete;
    Observer& operator=(const Observer&) = delete;

    int n_slots() const { return static_cast<int>(slots_.size()); }
    int n_active() const { return n_active_; }

    void load(int slot, Index run) {
        Machine& machine = probe_.machine();
        at(slot).run = run;
        batch_.set_run(probe_, slot, run);
        machine.set_rates(slot, no_rates_.data(), batch_.decays(run));
        for (Index l = 0; l < batch_.n_layers; ++l) {
            std::copy_n(batch_.start(run, l), batch_.layer_size(l), dense_.begin());
            machine.set_matrix(slot, machine.plan().weights[static_cast<std::size_t>(l)],
                               dense_.data());
        }
        ++n_active_;
    }
    template <class Other>
    void adopt(int slot, const State& from, int /*from_slot*/, const Other& /*other*/) {
        load(slot, from.run);
    }
    template <class Refill, class Enough>
    bool work(const Refill& refill, const Enough& enough) {
        while (true) {
            int n_slots_used = 0;
            for (int s = 0; s < n_slots(); ++s) {
                if (at(s).run >= 0 || refill(s)) n_slots_used = s + 1;
            }
            if (n_active_ == 0 || enough()) return true;
            if (!probe_.evaluate(batch_.at_record, 0, n_slots_used, std::ref(pulse_))) return false;
            for (int s = 0; s < n_slots_used; ++s) {
                if (at(s).run < 0) continue;
                batch_.write_record(probe_, s, at(s).run, 0);
                write_weights(at(s).run);
                leave(s);
            }
        }
    }
    bool release(int& slot, State& state) {
        for (int s = 0; s < n_slots(); ++s) {
            if (at(s).run < 0) continue;
            slot = s;
            state = at(s);
            leave(s);
            return true;
        }
        return false;
    }

private:
    State& at(int slot) { return slots_[static_cast<std::size_t>(slot)]; }
    /// In the numbers they come in.
    void write_weights(Index run) const {
        for (std::size_t l = 0; l < batch_.results.weights.size(); ++l) {
            const auto layer = static_cast<Index>(l);
            const Index size = batch_.layer_size(layer);
            std::copy_n(batch_.start(run, layer), size, batch_.results.weights[l] + run * size);
        }
    }
    void leave(int slot) {
        at(slot).run = -1;
        probe_.set_run(slot, -1);
        --n_active_;
    }

    Batch<T>& batch_;
    Pulse& pulse_;
    Probe<Machine> probe_;
    std::vector<double> no_rates_, dense_;
    std::vector<State> slots_;
    int n_active_ = 0;
};

}  // namespace linnet
