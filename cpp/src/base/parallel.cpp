#include "base/parallel.hpp"

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <limits>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "base/float_state.hpp"
#include "base/pool.hpp"

#ifdef LINNET_OPENMP
#include <omp.h>
#endif

namespace linnet {

namespace {

constexpr auto poll_interval = std::chrono::milliseconds(50);

/// The threads of one call.
class Team {
public:
    Team(Progress& progress, const std::function<bool(std::int64_t)>& poll,
         const std::function<void(int, Pulse&)>& body)
        : progress_(progress),
          body_(body) {
        if (!poll) return;
        poll_ = [this, &poll](std::int64_t done) {
            if (poll(done)) return true;
            forked_within_ = forked();
            return forked_within_;
        };
    }

    void work(int worker) {
        const UsualFloats usual;
        Pulse pulse(progress_, worker == 0 ? &poll_ : nullptr);
        try {
            body_(worker, pulse);
        } catch (...) {
            if (worker == 0 && forked()) {
                failure_ = std::current_exception();
                return;
            }
            const std::lock_guard<std::mutex> lock(mutex_);
            if (worker < failed_worker_) {
                failed_worker_ = worker;
                failure_ = std::current_exception();
            }
            progress_.stop.store(true);
        }
    }
    /// Tell that another worker than the calling one is done.
    void tell() {
        // Notified under the lock: the caller may destroy this object as soon as it is released.
        const std::lock_guard<std::mutex> lock(mutex_);
        ++finished_;
        arrived_.notify_one();
    }
    /// Wait until all have told, polling meanwhile.
    void wait(int team_size) {
        // In a child that was forked within the call there is nobody to wait for, and the mutex may
        // be held by nobody for ever.
        if (!forked()) wait_for_others(team_size);
    }
    /// Throw what the first worker that failed has thrown.
    void rethrow() const {
        if (failure_) std::rethrow_exception(failure_);
        if (forked_within_) {
            throw std::runtime_error(
                "a process that was forked within a call must not go on with it: the threads of "
                "the call are in the process that made it");
        }
    }

private:
    bool forked() const { return n_forks() != n_forks_; }

    void wait_for_others(int team_size) {
        Pulse pulse(progress_, &poll_);
        std::unique_lock<std::mutex> lock(mutex_);
        while (finished_ < team_size - 1) {
            arrived_.wait_for(lock, poll_interval);
            if (finished_ >= team_size - 1) break;
            lock.unlock();
            std::exception_ptr failure;
            try {
                pulse();
            } catch (...) {
                failure = std::current_exception();
                progress_.stop.store(true);
            }
            if (failure) failure_ = failure;
            if (forked()) return;
            lock.lock();
            if (failure) failed_worker_ = 0;
        }
    }

    Progress& progress_;
    std::function<bool(std::int64_t)> poll_;
    const std::function<void(int, Pulse&)>& body_;
    const unsigned n_forks_ = n_forks();
    bool forked_within_ = false;
    std::mutex mutex_;
    std::condition_variable arrived_;
    int finished_ = 0;
    int failed_worker_ = std::numeric_limits<int>::max();
    std::exception_ptr failure_;
};

void run_pool(int n_threads, Team& team) {
    ThreadPool& pool = ThreadPool::of_process();
    int team_size = 1;  // as many as the system gives
    while (team_size < n_threads) {
        const int worker = team_size;
        if (!pool.start({[&team, worker] { team.work(worker); }, [&team] { team.tell(); }})) break;
        ++team_size;
    }
    team.work(0);
    team.wait(team_size);
}

#ifdef LINNET_OPENMP
// libgomp's idle threads do not survive a fork, so that a parallel region in the child would wait for
// them for ever, as would one that is forked within; and it ends the process if the system gives it
// too few threads.
bool openmp_would_do(int n_threads, bool may_fork) {
    return !may_fork && n_forks() == 0 && n_threads <= omp_get_num_procs();
}
void run_openmp(int n_threads, Team& team) {
#pragma omp parallel num_threads(n_threads)
    {
        const int worker = omp_get_thread_num();
        team.work(worker);
        if (worker != 0) {
            team.tell();
        } else {
            team.wait(omp_get_num_threads());
        }
    }
}
#else
/// A number that OpenMP reads from the environment: the first of a list; `none` without one.
int environment_number(const char* name, int none) {
    const char* const text = std::getenv(name);
    if (text == nullptr) return none;
    char* end = nullptr;
    const long number = std::strtol(text, &end, 10);
    while (*end == ' ') ++end;
    if (end == text || (*end != '\0' && *end != ',') || number < 1) return none;
    return static_cast<int>(std::min<long>(number, std::numeric_limits<int>::max()));
}
#endif

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

void run_workers(const Control& control, Progress& progress,
                 const std::function<void(int, Pulse&)>& body) {
    // More than a few per processor only cost memory, and a system that runs out of it while
    // threads start ends badly.
    const int n_threads =
        std::min(control.n_threads, 16 + 4 * static_cast<int>(std::thread::hardware_concurrency()));
    Team team(progress, control.poll, body);
#ifdef LINNET_OPENMP
    if (n_threads > 1 && openmp_would_do(n_threads, control.may_fork)) {
        run_openmp(n_threads, team);
        team.rethrow();
        return;
    }
#endif
    run_pool(n_threads, team);
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
    const int processors = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    return std::min(environment_number("OMP_NUM_THREADS", processors),
                    environment_number("OMP_THREAD_LIMIT", processors));
#endif
}

}  // namespace linnet
