// train(): nothing is allocated in the loop, results do not depend on the engine, and it can be
// stopped.

#include "check.hpp"
#include "problem.hpp"

using namespace linnet;
using linnet::tests::Batch;

namespace {

template <class T>
long allocations_of(const std::vector<Index>& widths, Index n_runs, Index n_steps,
                    Index n_records) {
    Batch<T> batch(widths, n_runs, n_steps, n_records);
    const long before = tests::allocations();
    train(batch.problem, batch.descent, batch.results, {1, {}});
    return tests::allocations() - before;
}

template <class T>
void nothing_is_allocated_in_the_loop() {
    // Up to width 128; above, Eigen's products allocate their packing buffers.
    for (const std::vector<Index>& widths :
         {std::vector<Index>{4, 4, 4}, {8, 8, 8}, {5, 3, 7, 2}, {24, 20, 24}, {128, 128, 128}}) {
        const Index n_runs = widths[0] > 20 ? 2 : 40;
        const long few = allocations_of<T>(widths, n_runs, 4, 2);
        const long many = allocations_of<T>(widths, n_runs, 40, 20);
        CHECK_MESSAGE(few == many, std::to_string(few) + " against " + std::to_string(many) +
                                       " allocations, width " + std::to_string(widths[0]));
    }
}

template <class T>
void a_run_alone_equals_the_run_in_a_batch(const std::vector<Index>& widths) {
    const Index n_runs = 37;
    Batch<T> batch(widths, n_runs, 23, 5);
    train(batch.problem, batch.descent, batch.results, {2, {}});
    for (const Index run : {0, 5, 36}) {
        Batch<T> alone(widths, n_runs, 23, 5);
        alone.problem.run_shape = {1};
        for (std::size_t l = 0; l + 1 < widths.size(); ++l)
            alone.problem.weights[l].data += run * widths[l] * widths[l + 1];
        train(alone.problem, alone.descent, alone.results, {1, {}});
        for (std::size_t l = 0; l + 1 < widths.size(); ++l) {
            const auto size = static_cast<std::size_t>(widths[l] * widths[l + 1]);
            for (std::size_t i = 0; i < size; ++i) {
                CHECK(alone.final_weights[l][i] ==
                      batch.final_weights[l][static_cast<std::size_t>(run) * size + i]);
            }
        }
        for (std::size_t k = 0; k < 5; ++k) {
            const std::size_t cell = static_cast<std::size_t>(run) * 5 + k;
            CHECK(alone.loss[k] == batch.loss[cell]);
            CHECK(alone.gradient[k] == batch.gradient[cell]);
            const auto n = static_cast<std::size_t>(std::min(widths.front(), widths.back()));
            for (std::size_t i = 0; i < n; ++i)
                CHECK(alone.values[k * n + i] == batch.values[cell * n + i]);
        }
    }
}

}  // namespace

TEST(nothing_is_allocated_in_the_loop_in_double) { nothing_is_allocated_in_the_loop<double>(); }
TEST(nothing_is_allocated_in_the_loop_in_float) { nothing_is_allocated_in_the_loop<float>(); }

TEST(a_run_alone_equals_the_run_in_a_batch_everywhere) {
    for (const std::vector<Index>& widths : {std::vector<Index>{1, 1},
                                             {3, 2},
                                             {4, 4, 4},
                                             {8, 8, 8},
                                             {5, 3, 7, 2},
                                             {2, 9, 1, 9, 3},
                                             {17, 16, 19}}) {
        a_run_alone_equals_the_run_in_a_batch<double>(widths);
        a_run_alone_equals_the_run_in_a_batch<float>(widths);
    }
}

TEST(divergence_has_its_step_and_no_neighbour_notices) {
    const std::vector<Index> widths{3, 3, 3};
    Batch<double> calm(widths, 20, 200, 4);
    train(calm.problem, calm.descent, calm.results, {1, {}});
    Batch<double> batch(widths, 20, 200, 4);
    // One run gets a step size far above the stable ones.
    std::vector<double> step_sizes(40, 0.01);
    step_sizes[14] = step_sizes[15] = 50;
    batch.descent.step_size = {step_sizes.data(), {2}};
    train(batch.problem, batch.descent, batch.results, {2, {}});
    for (std::size_t run = 0; run < 20; ++run) {
        CHECK(batch.status[run] ==
              static_cast<std::int8_t>(run == 7 ? Status::diverged : Status::completed));
        if (run == 7) {
            CHECK(batch.stopped_at[run] > 1 && batch.stopped_at[run] < 50);
            // The step before it was still finite: train just that far.
            Batch<double> shorter(widths, 20, batch.stopped_at[run] - 1, 1);
            shorter.descent.step_size = {step_sizes.data(), {2}};
            train(shorter.problem, shorter.descent, shorter.results, {1, {}});
            CHECK(shorter.status[run] == static_cast<std::int8_t>(Status::completed));
            continue;
        }
        for (std::size_t i = 0; i < 9; ++i)
            CHECK(batch.final_weights[0][run * 9 + i] == calm.final_weights[0][run * 9 + i]);
    }
}

TEST(poll_stops_a_long_call) {
    // Not stopped it would take weeks.
    Batch<double> batch({8, 8, 8}, 64, Index{1} << 40, 1);
    int polls = 0;
    const bool finished =
        train(batch.problem, batch.descent, batch.results, {2, [&](std::int64_t done) {
                                                                CHECK(done >= 0);
                                                                return ++polls >= 3;
                                                            }});
    CHECK(!finished);
    CHECK(polls >= 3);  // once more, perhaps, while the caller waits for the other workers
}

TEST(no_runs_and_no_steps_are_fine) {
    Batch<double> none({2, 2}, 1, 5, 1);
    none.problem.run_shape = {0};
    CHECK(train(none.problem, none.descent, none.results, {1, {}}));
    Batch<double> still({2, 2}, 3, 0, 0);
    still.descent.record_steps = {0};
    still.loss.resize(3);
    still.gradient.resize(3);
    still.values.resize(6);
    still.norms.resize(3);
    still.imbalance.resize(3);
    still.observe();
    CHECK(train(still.problem, still.descent, still.results, {1, {}}));
    CHECK(still.final_weights[0] == still.weights[0]);
    CHECK(still.loss[0] != 0);
}

TEST(every_status_has_a_message) {
    for (const Status status :
         {Status::completed, Status::converged, Status::diverged, Status::exhausted}) {
        CHECK(std::string(message(status)).find("unknown") == std::string::npos);
    }
}
