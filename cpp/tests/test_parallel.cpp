// The driver of the workers: exceptions, stopping, polling.
#include <atomic>
#include <stdexcept>
#include <thread>

#include "base/parallel.hpp"
#include "check.hpp"

using namespace linnet;

TEST(all_workers_run_and_are_waited_for) {
    for (const int n_threads : {1, 2, 3, 8}) {
        Progress progress;
        std::atomic<int> finished{0};
        std::atomic<int> largest{-1};
        run_workers(n_threads, progress, {}, [&](int worker, Pulse&) {
            std::this_thread::sleep_for(std::chrono::milliseconds(worker));
            int seen = largest.load();
            while (worker > seen && !largest.compare_exchange_weak(seen, worker)) {
            }
            finished.fetch_add(1);
        });
        CHECK(finished.load() >= 1 && finished.load() <= n_threads);
        CHECK(largest.load() == finished.load() - 1);
    }
}

TEST(the_exception_of_the_lowest_worker_arrives) {
    for (int repeat = 0; repeat < 20; ++repeat) {
        Progress progress;
        std::string text;
        std::atomic<int> thrown{0};
        try {
            run_workers(4, progress, {}, [&](int worker, Pulse&) {
                thrown.fetch_add(1);
                throw std::runtime_error(std::to_string(worker));
            });
        } catch (const std::runtime_error& error) {
            text = error.what();
        }
        CHECK(text == "0");
        CHECK(progress.stop.load());
    }
}

TEST(an_exception_stops_the_others) {
    Progress progress;
    bool caught = false;
    try {
        run_workers(3, progress, {}, [&](int worker, Pulse& pulse) {
            if (worker == 0) throw std::bad_alloc();
            while (!pulse()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        });
    } catch (const std::bad_alloc&) {
        caught = true;
    }
    CHECK(caught);
}

TEST(only_the_calling_thread_polls_also_while_it_waits) {
    Progress progress;
    const auto caller = std::this_thread::get_id();
    int polls = 0;
    run_workers(
        2, progress,
        [&](std::int64_t) {
            CHECK(std::this_thread::get_id() == caller);
            return ++polls == 2;
        },
        [&](int worker, Pulse& pulse) {
            if (worker == 0) return;
            while (!pulse()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        });
    CHECK(polls == 2 || polls == 0);  // 0: the system gave one thread only
}
