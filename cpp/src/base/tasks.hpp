// Tasks that do not know of each other, shared out among threads.
#pragma once

#include <atomic>

#include "base/parallel.hpp"
#include "linnet/index.hpp"

namespace linnet {

/// Call body(task, pulse) for every task, on up to control.n_threads threads. False if asked to
/// stop.
template <class Body>
bool for_each_task(Index n_tasks, const Control& control, const Body& body) {
    if (n_tasks == 0) return true;
    Progress progress;
    std::atomic<Index> next{0};
    run_workers(at_most(control, n_tasks), progress, [&](int /*worker*/, Pulse& pulse) {
        while (true) {
            const Index task = next.fetch_add(1, std::memory_order_relaxed);
            if (task >= n_tasks || pulse()) return;
            body(task, pulse);
        }
    });
    return !progress.stop.load();
}

}  // namespace linnet
