// Losses that are evaluated beside that of the training: their values on either machine, mirrored
// products, stop rules, and nothing allocated in the loop.
#include <cmath>

#include "check.hpp"
#include "problem.hpp"

using namespace linnet;
using linnet::tests::Batch;

namespace {

/// A batch that evaluates the loss that it is trained on.
struct Evaluated {
    Batch<double> batch;
    std::vector<double> seen;

    Evaluated(const std::vector<Index>& widths, Index n_runs, Index n_steps, Index n_records)
        : batch(widths, n_runs, n_steps, n_records),
          seen(static_cast<std::size_t>(n_runs * n_records)) {
        batch.problem.evaluated.push_back({batch.problem.loss, {}});
        batch.results.evaluated.emplace_back(observables().size());
        batch.results.evaluated[0][observable_of("loss")] = seen.data();
    }
};

bool is_near(double x, double y) { return std::abs(x - y) <= 1e-12 * std::max(1.0, std::abs(y)); }

}  // namespace

TEST(a_loss_evaluated_is_the_loss) {
    for (const Index n_runs : {1, 37}) {
        for (const std::vector<Index>& widths : {std::vector<Index>{4, 4, 4}, {5, 3, 7, 2}}) {
            Evaluated descent(widths, n_runs, 23, 5);
            CHECK(train(descent.batch.problem, descent.batch.descent, descent.batch.results,
                        {2, {}}));
            Evaluated flown(widths, n_runs, 23, 5);
            CHECK(flow(flown.batch.problem, flown.batch.flow, flown.batch.results, {2, {}}));
            Evaluated looked(widths, n_runs, 23, 1);
            CHECK(observe(looked.batch.problem, looked.batch.results, {2, {}}));
            for (const Evaluated* one : {&descent, &flown, &looked}) {
                for (std::size_t k = 0; k < one->seen.size(); ++k)
                    CHECK(is_near(one->seen[k], one->batch.loss[k]));
            }
        }
    }
}

TEST(an_evaluated_loss_changes_nothing_and_has_the_same_bits_alone) {
    Evaluated with({5, 3, 7, 2}, 37, 23, 5);
    CHECK(train(with.batch.problem, with.batch.descent, with.batch.results, {2, {}}));
    Batch<double> without({5, 3, 7, 2}, 37, 23, 5);
    CHECK(train(without.problem, without.descent, without.results, {1, {}}));
    CHECK(with.batch.final_weights == without.final_weights);
    CHECK(with.batch.loss == without.loss);
    Evaluated alone({5, 3, 7, 2}, 37, 23, 5);
    alone.batch.problem.run_shape = alone.batch.problem.loss.run_shape = {1};
    alone.batch.problem.evaluated[0].loss.run_shape = {1};
    for (std::size_t l = 0; l < 3; ++l)
        alone.batch.problem.weights[l].data += 5 * alone.batch.problem.chain.sizes[l];
    CHECK(train(alone.batch.problem, alone.batch.descent, alone.batch.results, {1, {}}));
    for (std::size_t k = 0; k < 5; ++k) CHECK(alone.seen[k] == with.seen[5 * 5 + k]);
}

TEST(evaluated_losses_see_mirrored_products) {
    const std::vector<Index> widths{4, 5, 3};
    for (const Index n_runs : {1, 37}) {
        // With minimizer and factor that are mirrored, too, the loss is what it is without.
        Evaluated plain(widths, n_runs, 1, 1);
        Evaluated mirrored(widths, n_runs, 1, 1);
        const std::vector<double> normal{1, 0.5, -0.5, std::sqrt(0.5)};
        const auto mirror = [&](std::vector<double>& rows) {
            for (std::size_t i = 0; i < rows.size() / 4; ++i) {
                double along = 0;
                for (std::size_t j = 0; j < 4; ++j) along += rows[4 * i + j] * normal[j];
                for (std::size_t j = 0; j < 4; ++j) rows[4 * i + j] -= along * normal[j];
            }
        };
        std::vector<double> minimizer = mirrored.batch.cross;
        std::vector<double> factor = mirrored.batch.factor;
        mirror(minimizer);
        mirror(factor);
        LossData& loss = mirrored.batch.problem.evaluated[0].loss;
        loss.values["minimizer"] = RunArray<double>{minimizer.data(), {0}};
        loss.values["factor"] = RunArray<double>{factor.data(), {0}};
        mirrored.batch.problem.mirror = {normal.data(), {0}};
        CHECK(observe(plain.batch.problem, plain.batch.results, {1, {}}));
        CHECK(observe(mirrored.batch.problem, mirrored.batch.results, {1, {}}));
        for (std::size_t k = 0; k < plain.seen.size(); ++k)
            CHECK(is_near(plain.seen[k], mirrored.seen[k]));
    }
}

TEST(evaluated_losses_end_runs) {
    Evaluated batch({4, 4}, 37, 60, 60);
    double limit = 1e300;
    batch.batch.problem.evaluated[0].stop = {&limit, {0}};
    CHECK(train(batch.batch.problem, batch.batch.descent, batch.batch.results, {2, {}}));
    for (const std::int64_t last : batch.batch.stopped_at) CHECK(last == 0);
    // The first run ends where it was seen to be so low; others at once, or later.
    Evaluated whole({4, 4}, 37, 60, 60);
    CHECK(train(whole.batch.problem, whole.batch.descent, whole.batch.results, {2, {}}));
    limit = whole.seen[20];
    CHECK(train(batch.batch.problem, batch.batch.descent, batch.batch.results, {2, {}}));
    CHECK(batch.batch.stopped_at[0] == 20);
    for (std::size_t run = 0; run < 37; ++run) {
        const auto last = static_cast<std::size_t>(batch.batch.stopped_at[run]);
        CHECK(last == 60 || whole.seen[60 * run + last] <= limit);
        CHECK(last == 0 || last == 60 || whole.seen[60 * run + last - 1] > limit);
    }
}

TEST(nothing_is_allocated_where_losses_are_evaluated) {
    const auto allocations_of = [](Index n_steps, Index n_records) {
        Evaluated batch({5, 3, 7, 2}, 40, n_steps, n_records);
        double limit = 0;
        batch.batch.problem.evaluated[0].stop = {&limit, {0}};
        const long before = tests::allocations();
        train(batch.batch.problem, batch.batch.descent, batch.batch.results, {1, {}});
        return tests::allocations() - before;
    };
    CHECK(allocations_of(4, 2) == allocations_of(40, 20));
}
