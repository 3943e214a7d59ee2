#include "base/pool.hpp"

#include <algorithm>
#include <atomic>
#include <memory>
#include <new>
#include <system_error>
#include <thread>
#include <utility>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace linnet {

namespace {

std::atomic<unsigned> forks{0};
std::atomic<ThreadPool*> current{nullptr};

#if defined(__unix__) || defined(__APPLE__)
// The pool of the parent stays behind as it was, its mutex perhaps locked.
[[maybe_unused]] const int fork_handler = pthread_atfork(nullptr, nullptr, [] {
    forks.fetch_add(1);
    current.store(nullptr);
});
#endif

}  // namespace

unsigned n_forks() { return forks.load(); }

ThreadPool& ThreadPool::of_process() {
    ThreadPool* pool = current.load();
    if (pool != nullptr) return *pool;
    // Never destroyed: its threads wait in it until the process ends.
    auto* const fresh = new ThreadPool;
    if (current.compare_exchange_strong(pool, fresh)) return *fresh;
    delete fresh;
    return *pool;
}

bool ThreadPool::start(PoolTask task) {
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (idle_ != nullptr) {
            Worker* const worker = idle_;
            idle_ = worker->next_idle;
            --n_idle_;
            worker->task = std::move(task);
            worker->wake.notify_one();
            return true;
        }
    }
    try {
        auto worker = std::make_unique<Worker>();
        worker->task = std::move(task);
        std::thread([this, w = worker.get()] { serve(w); }).detach();
        worker.release();
    } catch (const std::system_error&) {
        return false;
    } catch (const std::bad_alloc&) {
        return false;
    }
    return true;
}

void ThreadPool::serve(Worker* worker) {
    const int most_idle = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    while (true) {
        const PoolTask task = std::move(worker->task);
        worker->task = {};
        task.work();
        std::unique_lock<std::mutex> lock(mutex_);
        if (n_idle_ >= most_idle) {
            lock.unlock();
            delete worker;
            task.tell();
            return;
        }
        worker->next_idle = idle_;
        idle_ = worker;
        ++n_idle_;
        lock.unlock();
        task.tell();
        lock.lock();
        while (!worker->task.work) worker->wake.wait(lock);
    }
}

}  // namespace linnet
