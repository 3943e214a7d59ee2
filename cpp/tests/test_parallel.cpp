// The driver of the workers: exceptions, stopping, polling.
#include <atomic>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <sys/wait.h>
#include <unistd.h>
#endif

#include "base/parallel.hpp"
#include "check.hpp"
#include "runs/order.hpp"

using namespace linnet;

namespace {

Control threads(int n_threads) {
    Control control;
    control.n_threads = n_threads;
    return control;
}

}  // namespace

TEST(all_workers_run_and_are_waited_for) {
    for (const int n_threads : {1, 2, 3, 8}) {
        Progress progress;
        std::atomic<int> finished{0};
        std::atomic<int> largest{-1};
        run_workers(threads(n_threads), progress, [&](int worker, Pulse&) {
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
            run_workers(threads(4), progress, [&](int worker, Pulse&) {
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
        run_workers(threads(3), progress, [&](int worker, Pulse& pulse) {
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
    Control control = threads(2);
    control.poll = [&](std::int64_t) {
        CHECK(std::this_thread::get_id() == caller);
        return ++polls == 2;
    };
    run_workers(control, progress, [&](int worker, Pulse& pulse) {
        if (worker == 0) return;
        while (!pulse()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    });
    CHECK(polls == 2 || polls == 0);  // 0: the system gave one thread only
}

TEST(calls_within_calls_and_beside_calls_have_threads_of_their_own) {
    std::atomic<int> finished{0};
    const auto inner = [&] {
        for (int repeat = 0; repeat < 50; ++repeat) {
            Progress progress;
            run_workers(threads(3), progress, [&](int, Pulse&) { finished.fetch_add(1); });
        }
    };
    std::vector<std::thread> callers;
    for (int i = 0; i < 3; ++i) {
        callers.emplace_back([&] {
            Progress progress;
            run_workers(threads(2), progress, [&](int, Pulse&) { inner(); });
        });
    }
    for (std::thread& caller : callers) caller.join();
    CHECK(finished.load() >= 3 * 50 && finished.load() <= 3 * 2 * 50 * 3);
}

#if defined(__unix__) || defined(__APPLE__)
/// Exit status of a child that does `body` there, 1 if that fails or takes long.
template <class Body>
int in_child(const Body& body) {
    const pid_t pid = fork();
    if (pid == 0) {
        alarm(20);
        _exit(body() ? 0 : 1);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    return status;
}

#ifndef __SANITIZE_THREAD__  // which gives a child no threads
TEST(a_child_has_threads_of_its_own) {
    const auto call = [] {
        Progress progress;
        std::atomic<int> finished{0};
        run_workers(threads(4), progress, [&](int, Pulse&) { finished.fetch_add(1); });
        return finished.load() >= 1;
    };
    CHECK(call());
    CHECK(in_child([&] { return call() && in_child(call) == 0; }) == 0);
    CHECK(call());
}

#endif

TEST(a_child_that_is_forked_within_a_call_leaves_it_with_an_error) {
    for (const int n_threads : {1, 2, 5}) {
        for (const bool caller_waits : {false, true}) {
            Control control = threads(n_threads);
            control.may_fork = true;
            pid_t child = -1;
            control.poll = [&](std::int64_t) {
                if (child >= 0) return true;
                child = fork();
                if (child == 0) alarm(20);
                return false;
            };
            Progress progress;
            std::string said;
            try {
                run_workers(control, progress, [&](int worker, Pulse& pulse) {
                    if (worker == 0 && caller_waits && n_threads > 1) return;
                    while (!pulse()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
                });
            } catch (const std::runtime_error& error) {
                said = error.what();
            }
            if (child == 0) _exit(said.find("forked") == std::string::npos ? 1 : 0);
            CHECK(said.empty());
            int status = -1;
            if (child > 0) waitpid(child, &status, 0);
            CHECK(status == 0 || child < 0);
        }
    }
}
#endif

TEST(runs_that_share_their_data_are_begun_one_after_the_other) {
    const std::vector<double> numbers(100, 1.0);
    const std::vector<Index> shape{3, 4, 5};
    const auto order_of = [&](std::vector<Index> strides) {
        LossData loss("logistic", shape, 1, 1);
        loss.values["inputs"] = RunArray<double>{numbers.data(), std::move(strides)};
        loss.values["targets"] = RunArray<double>{numbers.data(), {0, 0, 0}};
        const RunOrder order(loss, shape);
        std::vector<Index> runs;
        for (Index place = 0; place < 60; ++place) runs.push_back(order.run(place));
        return runs;
    };
    std::vector<Index> plain(60);
    std::iota(plain.begin(), plain.end(), 0);
    CHECK(order_of({0, 0, 0}) == plain);
    CHECK(order_of({20, 5, 1}) == plain);
    CHECK(order_of({1, 0, 0}) == plain);
    // The last axis has other data: it turns slowest, the others in C order before it.
    const std::vector<Index> turned = order_of({0, 0, 1});
    for (Index place = 0; place < 60; ++place)
        CHECK(turned[static_cast<std::size_t>(place)] == place % 12 * 5 + place / 12);
    const std::vector<Index> middle = order_of({0, 7, 0});
    for (Index place = 0; place < 60; ++place) {
        const Index inner = place % 15;
        CHECK(middle[static_cast<std::size_t>(place)] ==
              inner / 5 * 20 + place / 15 * 5 + inner % 5);
    }
}
