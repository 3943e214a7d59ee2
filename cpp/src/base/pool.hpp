// Threads that outlast the calls they work for.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>

namespace linnet {

/// How often a process descends from this one by forks: threads do not follow into a child.
unsigned n_forks();

/// What a thread is given to do. The second part tells that the first is done; meanwhile the thread
/// is free again, so that calls one after another find it.
struct PoolTask {
    std::function<void()> work;
    std::function<void()> tell;
};

/// Idle threads, and new ones where these do not suffice. Calls from several threads, and calls
/// within calls, take what the others have left.
class ThreadPool {
public:
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    /// The one of this process: a child begins with an empty one.
    static ThreadPool& of_process();

    /// Do a task on another thread; false if the system gives none. Neither part may throw.
    bool start(PoolTask task);

private:
    struct Worker {
        std::condition_variable wake;
        PoolTask task;
        Worker* next_idle = nullptr;
    };

    ThreadPool() = default;
    void serve(Worker* worker);

    std::mutex mutex_;
    Worker* idle_ = nullptr;
    int n_idle_ = 0;
};

}  // namespace linnet
