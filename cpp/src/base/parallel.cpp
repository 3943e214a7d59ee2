#include "base/parallel.hpp"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <limits>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "base/float_state.hpp"

#ifdef LINNET_OPENMP
#include <omp.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace linnet {

namespace {

constexpr auto poll_interval = std::chrono::milliseconds(50);

#ifdef LINNET_OPENMP
// Plain threads take over where libgomp would not do: its idle threads do not survive a fork, so
// that a parallel region in the child would wait for them for ever; and it ends the process if the
// system gives it too few threads.
std::atomic<bool> forked{false};
#if defined(__unix__) || defined(__APPLE__)
[[maybe_unused]] const int fork_handler =
    pthread_atfork(nullptr, nullptr, [] { forked.store(true); });
#endif
#endif

class Team {
public:
    Team(Progress& progress, const std::function<bool(std::int64_t)>& poll,
         const std::function<void(int, Pulse&)>& body)
        : progress_(progress),
          poll_(poll),
          body_(body) {}

    void work(int worker, int team_size) {
        const UsualFloats usual;
        const bool caller = worker == 0;
        Pulse pulse(progress_, caller ? &poll_ : nullptr);
        try {
            body_(worker, pulse);
        } catch (...) {
            const std::lock_guard<std::mutex> lock(mutex_);
            if (worker < failed_worker_) {
                failed_worker_ = worker;
                failure_ = std::current_exception();
            }
            progress_.stop.store(true);
        }
        if (!caller) {
            // Notified under the lock: the caller may destroy this object as soon as it is
            // released.
            const std::lock_guard<std::mutex> lock(mutex_);
            ++finished_;
            arrived_.notify_one();
            return;
        }
        std::unique_lock<std::mutex> lock(mutex_);
        while (finished_ < team_size - 1) {
            arrived_.wait_for(lock, poll_interval);
            if (finished_ >= team_size - 1) break;
            lock.unlock();
            try {
                pulse();
            } catch (...) {
                progress_.stop.store(true);
                lock.lock();
                failure_ = std::current_exception();
                failed_worker_ = 0;
                continue;
            }
            lock.lock();
        }
    }

    void rethrow() const {
        if (failure_) std::rethrow_exception(failure_);
    }

private:
    Progress& progress_;
    const std::function<bool(std::int64_t)>& poll_;
    const std::function<void(int, Pulse&)>& body_;
    std::mutex mutex_;
    std::condition_variable arrived_;
    int finished_ = 0;
    int failed_worker_ = std::numeric_limits<int>::max();
    std::exception_ptr failure_;
};

void run_std(int n_threads, Team& team) {
    std::vector<std::thread> threads;
    int started = 1;
    threads.reserve(static_cast<std::size_t>(n_threads));
    // The team's size is known only once the threads exist, so they wait for it.
    std::mutex gate;
    std::unique_lock<std::mutex> closed(gate);
    for (int worker = 1; worker < n_threads; ++worker) {
        try {
            threads.emplace_back([&, worker] {
                {
                    const std::lock_guard<std::mutex> open(gate);
                }
                team.work(worker, started);
            });
        } catch (const std::system_error&) {
            break;  // as many as the system gives
        }
        ++started;
    }
    closed.unlock();
    team.work(0, started);
    for (std::thread& thread : threads) thread.join();
}

}  // namespace

bool Pulse::operator()() {
    if (poll_ != nullptr && *poll_) {
        const auto now = std::chrono::steady_clock::now();
        if (now - last_ >= poll_interval) {
            last_ = now;
            if ((*poll_)(progress_.done.load(std::memory_order_relaxed)))
                progress_.stop.store(true);
        }
    }
    return progress_.stop.load(std::memory_order_relaxed);
}

void run_workers(int n_threads, Progress& progress, const std::function<bool(std::int64_t)>& poll,
                 const std::function<void(int, Pulse&)>& body) {
    // More than a few per processor only cost memory, and a system that runs out of it while
    // threads start ends badly.
    n_threads = std::min(n_threads, 16 + 4 * static_cast<int>(std::thread::hardware_concurrency()));
    Team team(progress, poll, body);
    if (n_threads <= 1) {
        team.work(0, 1);
#ifdef LINNET_OPENMP
    } else if (!forked.load() && n_threads <= omp_get_num_procs()) {
#pragma omp parallel num_threads(n_threads)
        team.work(omp_get_thread_num(), omp_get_num_threads());
#endif
    } else {
        run_std(n_threads, team);
    }
    team.rethrow();
}

const char* thread_backend() {
#ifdef LINNET_OPENMP
    return "openmp";
#else
    return "std";
#endif
}

int default_threads() {
#ifdef LINNET_OPENMP
    return omp_get_max_threads();
#else
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
#endif
}

}  // namespace linnet
