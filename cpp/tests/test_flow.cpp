// flow(): against a closed form, the same bits alone and in a batch, nothing allocated in the loop,
// how runs end.
#include <cmath>
#include <utility>

#include "check.hpp"
#include "problem.hpp"

using namespace linnet;
using linnet::tests::Batch;

namespace {

long allocations_of(const std::vector<Index>& widths, double until, Index n_records) {
    Batch<double> batch(widths, widths[0] > 20 ? 2 : 40, 100, n_records);
    batch.flow.until = until;
    for (double& time : batch.flow.record_times) time = std::min(time, until);
    const long before = tests::allocations();
    flow(batch.problem, batch.flow, batch.results, {1, {}});
    return tests::allocations() - before;
}

}  // namespace

TEST(a_flow_allocates_nothing_in_the_loop) {
    for (const std::vector<Index>& widths :
         {std::vector<Index>{3, 2}, {4, 4, 4}, {5, 3, 7, 2}, {24, 20, 24}, {64, 64, 64}}) {
        const long few = allocations_of(widths, 1, 1);
        const long many = allocations_of(widths, 40, 1);
        CHECK_MESSAGE(few == many, std::to_string(few) + " against " + std::to_string(many) +
                                       " allocations, width " + std::to_string(widths[0]));
    }
}

TEST(a_flow_of_one_mode_is_the_logistic_curve) {
    Batch<double> batch({1, 1, 1}, 11, 1000, 50, 0.02);
    const double sigma = 1.5;
    batch.cross = {sigma};
    batch.cov = {1};
    batch.set_moment("cross_cov", batch.cross, 0);
    batch.set_moment("input_cov", batch.cov, 0);
    batch.tolerance = {1e-10};
    batch.flow.rtol = batch.flow.atol = {batch.tolerance.data(), {0}};
    for (std::size_t run = 0; run < 11; ++run) {
        const double factor = std::pow(10.0, -0.4 * static_cast<double>(run));
        batch.weights[0][run] = batch.weights[1][run] = factor;
    }
    std::vector<double> product(11 * 50);
    batch.results.to("product") = product.data();
    std::vector<double> tiny{1e-16};
    batch.flow.atol = {tiny.data(), {0}};
    CHECK(flow(batch.problem, batch.flow, batch.results, {2, {}}));
    for (std::size_t run = 0; run < 11; ++run) {
        CHECK(batch.status[run] == static_cast<std::int8_t>(Status::completed));
        CHECK(batch.stopped_time[run] == 20);
        const double start = batch.weights[0][run] * batch.weights[0][run];
        for (std::size_t k = 0; k < 50; ++k) {
            const double decay = std::exp(-2 * sigma * batch.flow.record_times[k]);
            const double expected = start / (decay + start * (1 - decay) / sigma);
            CHECK(std::abs(product[run * 50 + k] / expected - 1) < 1e-7);
        }
    }
}

TEST(the_method_for_stiff_flows_comes_where_the_other_does) {
    // A mode that has long come to rest and one that still goes on: rates of 2e4 and 2.
    const std::vector<Index> widths{2, 2};
    const auto make = [&](FlowKind kind) {
        Batch<double> batch(widths, 5, 1000, 4);
        batch.cov = {2e4, 0, 0, 2};
        batch.set_moment("input_cov", batch.cov, 0);
        batch.tolerance = {1e-6};
        batch.flow.rtol = batch.flow.atol = {batch.tolerance.data(), {0}};
        batch.flow.kind = kind;
        batch.flow.until = 20;
        batch.flow.max_steps = 1000000;
        batch.flow.record_times = {0, 1, 7.5, 20};
        CHECK(flow(batch.problem, batch.flow, batch.results, {2, {}}));
        return std::make_pair(batch.final_weights, batch.n_steps_taken);
    };
    const auto exact = make(FlowKind::exact);
    for (const FlowKind kind : {FlowKind::stiff, FlowKind::automatic}) {
        const auto found = make(kind);
        for (std::size_t i = 0; i < exact.first[0].size(); ++i)
            CHECK(std::abs(found.first[0][i] - exact.first[0][i]) < 1e-4);
        // Stability alone would ask for more than 20 * 2e4 / 6 of them.
        CHECK(found.second[0] < exact.second[0] / 50);
    }
}

TEST(a_flow_alone_equals_the_flow_in_a_batch) {
    for (const std::vector<Index>& widths : {std::vector<Index>{1, 1},
                                             {3, 2},
                                             {4, 4, 4},
                                             {8, 8, 8},
                                             {5, 3, 7, 2},
                                             {2, 9, 1, 9, 3},
                                             {17, 16, 19}}) {
        const Index n_runs = 21;
        Batch<double> batch(widths, n_runs, 500, 5);
        flow(batch.problem, batch.flow, batch.results, {2, {}});
        for (const Index run : {0, 5, 20}) {
            Batch<double> alone(widths, n_runs, 500, 5);
            alone.problem.run_shape = {1};
            for (std::size_t l = 0; l + 1 < widths.size(); ++l)
                alone.problem.weights[l].data += run * widths[l] * widths[l + 1];
            flow(alone.problem, alone.flow, alone.results, {1, {}});
            const auto at = static_cast<std::size_t>(run);
            CHECK(alone.n_steps_taken[0] == batch.n_steps_taken[at]);
            for (std::size_t l = 0; l + 1 < widths.size(); ++l) {
                const auto size = static_cast<std::size_t>(widths[l] * widths[l + 1]);
                for (std::size_t i = 0; i < size; ++i)
                    CHECK(alone.final_weights[l][i] == batch.final_weights[l][at * size + i]);
            }
            const auto n = static_cast<std::size_t>(std::min(widths.front(), widths.back()));
            for (std::size_t k = 0; k < 5; ++k) {
                CHECK(alone.loss[k] == batch.loss[at * 5 + k]);
                for (std::size_t i = 0; i < n; ++i)
                    CHECK(alone.values[k * n + i] == batch.values[(at * 5 + k) * n + i]);
            }
        }
    }
}

TEST(a_flow_ends_as_its_status_says) {
    const std::vector<Index> widths{3, 3, 3};
    Batch<double> calm(widths, 20, 1000, 4);
    flow(calm.problem, calm.flow, calm.results, {1, {}});

    // Too few steps allowed: some way is made, and the rest is said.
    Batch<double> few(widths, 20, 1000, 4);
    few.flow.max_steps = 3;
    flow(few.problem, few.flow, few.results, {1, {}});
    for (std::size_t run = 0; run < 20; ++run) {
        CHECK(few.status[run] == static_cast<std::int8_t>(Status::exhausted));
        CHECK(few.n_steps_taken[run] == 3);
        CHECK(few.stopped_time[run] > 0 && few.stopped_time[run] < 10);
    }

    // A moment matrix that is not one: the weights of its run go to infinity, and no neighbour
    // notices.
    Batch<double> batch(widths, 20, 1000, 4);
    std::vector<double> covs;
    for (int run = 0; run < 20; ++run) {
        for (const double x : batch.cov) covs.push_back(run == 7 ? -x : x);
    }
    batch.set_moment("input_cov", covs, 9);
    flow(batch.problem, batch.flow, batch.results, {2, {}});
    for (std::size_t run = 0; run < 20; ++run) {
        CHECK(batch.status[run] ==
              static_cast<std::int8_t>(run == 7 ? Status::diverged : Status::completed));
        for (std::size_t i = 0; i < 9 && run != 7; ++i)
            CHECK(batch.final_weights[0][run * 9 + i] == calm.final_weights[0][run * 9 + i]);
    }

    // A rule on the loss ends a run at the step that meets it.
    Batch<double> ruled(widths, 20, 1000, 4);
    std::vector<double> limit{0.2};
    ruled.problem.stop_loss = {limit.data(), {0}};
    flow(ruled.problem, ruled.flow, ruled.results, {1, {}});
    int n_converged = 0;
    for (std::size_t run = 0; run < 20; ++run) {
        if (ruled.status[run] == static_cast<std::int8_t>(Status::converged)) {
            ++n_converged;
            CHECK(ruled.stopped_time[run] < 10);
        }
    }
    CHECK(n_converged > 0);
}

TEST(poll_stops_a_long_flow) {
    Batch<double> batch({8, 8, 8}, 64, 1'000'000'000, 1);
    batch.flow.max_steps = 1'000'000'000;
    int polls = 0;
    const bool finished =
        flow(batch.problem, batch.flow, batch.results, {2, [&](std::int64_t done) {
                                                            CHECK(done >= 0);
                                                            return ++polls >= 3;
                                                        }});
    CHECK(!finished);
    CHECK(polls >= 3);
}

TEST(no_runs_and_no_time_are_fine_in_a_flow) {
    Batch<double> none({2, 2}, 1, 5, 1);
    none.problem.run_shape = {0};
    CHECK(flow(none.problem, none.flow, none.results, {1, {}}));
    Batch<double> still({2, 2}, 3, 0, 1);
    CHECK(flow(still.problem, still.flow, still.results, {1, {}}));
    CHECK(still.final_weights[0] == still.weights[0]);
    CHECK(still.loss[0] != 0);
    CHECK(still.status[0] == static_cast<std::int8_t>(Status::completed));
}
