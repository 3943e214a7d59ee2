// How the runs of a batch are dealt out to workers, whatever the method.
#pragma once

#include <algorithm>

#include "base/parallel.hpp"
#include "base/simd.hpp"
#include "engines/costs.hpp"
#include "runs/batch.hpp"

namespace linnet {

/// Take every run of a batch to its end; false if asked to stop.
///
/// Runs are moved along by runners, in slots. Every worker has a runner of single runs and, where
/// that is faster, one with a run per lane. The latter is refilled as runs end; when those left are
/// too few for it, they go on one by one.
///
/// make_direct(progress, pulse) and make_lanes(progress, pulse, share, direct) return the runners
/// of one worker, whose share of the runs is given. A runner is neither copied nor moved, and has
///
///     State                               what is known of a run beside its weights
///     n_slots(), n_active()
///     load(slot, run)                     puts a fresh run into a free slot
///     work(refill, enough)                moves its runs along, refilling free slots by
/// refill(slot), until none is
///                                         left or enough(); false if asked to stop
///     release(slot, state)                takes the next active run out; false if there is none
///     adopt(slot, state, from, other)     goes on with what another runner has released from its
/// slot `from`
template <class T, class MakeDirect, class MakeLanes>
bool work_through(Batch<T>& batch, const Costs& costs, const Control& control,
                  const MakeDirect& make_direct, const MakeLanes& make_lanes) {
    if (batch.n_runs == 0) return true;
    const Control team = at_most(control, batch.n_runs);
    const Index share = (batch.n_runs + team.n_threads - 1) / team.n_threads;
    // Lanes cost the same however many of them are in use.
    const double fewest_lanes = costs.fewest_lanes();
    const bool use_lanes =
        fewest_lanes <= std::min<double>(native_lanes<T>, static_cast<double>(share));
    using Claim = typename Batch<T>::Claim;
    const auto load_into = [&batch](auto& runner, int slot, Claim& claim, Index count) {
        const Index run = batch.take(claim, count);
        if (run >= 0) runner.load(slot, run);
        return run >= 0;
    };
    const auto never = [] { return false; };

    Progress progress;
    run_workers(team, progress, [&](int /*worker*/, Pulse& pulse) {
        auto direct = make_direct(progress, pulse);
        if (use_lanes) {
            auto lanes = make_lanes(progress, pulse, share, direct);
            // No worker takes more than its share at first, so that few runs spread over all
            // workers.
            Index taken = 0;
            Claim claim;
            const auto refill = [&](int slot) {
                const bool is_first = taken < lanes.n_slots();
                if (is_first && taken >= share) return false;
                // As many as there are free slots, which are asked for next: neighbours stay together.
                const Index n_free = lanes.n_slots() - lanes.n_active();
                const Index count = is_first ? std::min(n_free, share - taken) : n_free;
                ++taken;
                return load_into(lanes, slot, claim, count);
            };
            const auto enough = [&] { return batch.drained() && lanes.n_active() < fewest_lanes; };
            if (!lanes.work(refill, enough)) return;
            int slot = 0;
            typename decltype(lanes)::State state;
            while (lanes.release(slot, state)) {
                direct.adopt(0, state, slot, lanes);
                if (!direct.work([](int) { return false; }, never)) return;
            }
        }
        Claim claim;
        direct.work([&](int slot) { return load_into(direct, slot, claim, 1); }, never);
    });
    return !progress.stop.load();
}

}  // namespace linnet
