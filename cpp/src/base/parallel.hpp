// Threads, of the pool or of OpenMP: the rest of the core does not know which.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>

#include "linnet/index.hpp"

namespace linnet {

/// What the workers of one call share.
struct Progress {
    std::atomic<bool> stop{false};
    std::atomic<std::int64_t> done{0};  ///< run-steps
};

/// Asked by workers between blocks of steps: is it time to stop? The calling thread also polls from
/// here.
class Pulse {
public:
    Pulse(Progress& progress, const std::function<bool(std::int64_t)>* poll)
        : progress_(progress),
          poll_(poll),
          last_(std::chrono::steady_clock::now()) {}
    bool operator()();

private:
    Progress& progress_;
    const std::function<bool(std::int64_t)>* poll_;  // null: not the calling thread
    std::chrono::steady_clock::time_point last_;
};

/// Run body(worker, pulse) on up to control.n_threads threads, the calling one among them and as
/// many as the system gives, and wait for all. An exception of a worker stops the others; that of
/// the lowest worker is thrown here. In a child that poll() has forked it is an error.
void run_workers(const Control& control, Progress& progress,
                 const std::function<void(int, Pulse&)>& body);

/// Which implementation of threads this build uses: "openmp" or "std".
const char* thread_backend();

/// Threads that OpenMP would use for a parallel region here, also where this build does without: the
/// hardware's, or fewer by OMP_NUM_THREADS and OMP_THREAD_LIMIT.
int default_threads();

}  // namespace linnet
