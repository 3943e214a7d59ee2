// The lists of losses and observables, and losses of several outputs.
#include <cmath>
#include <memory>
#include <random>
#include <set>
#include <stdexcept>
#include <string>

#include "check.hpp"
#include "engines/direct_machine.hpp"
#include "engines/lane_machine.hpp"
#include "problem.hpp"

using namespace linnet;

namespace {

/// 1/2 |P - M|^2 with M = (row + 1) / (column + 2), of runs that all are alike.
template <class V>
class DistanceEngine final : public LossEngine<V> {
public:
    explicit DistanceEngine(int n_slots) : LossEngine<V>(n_slots) {}
    static double target(Index i, Index j) {
        return static_cast<double>(i + 1) / static_cast<double>(j + 2);
    }
    void residual(int /*group*/, const Entries<V>& product, const Places<V>& to) override {
        for (Index i = 0; i < product.rows; ++i) {
            for (Index j = 0; j < product.cols; ++j)
                to(i, j) = product(i, j) - broadcast<V>(target(i, j));
        }
    }
    V loss(int /*group*/, const Entries<V>& /*product*/) override { return V{}; }
};

/// The weights of one run after ten steps, on a machine with a loss of its own.
template <class Machine>
std::vector<double> trained(Machine machine, const std::vector<std::vector<double>>& start) {
    std::vector<double> all;
    const std::vector<double> rates(start.size(), 0.05);
    const std::vector<double> no_decays(start.size());
    machine.set_rates(0, rates.data(), no_decays.data());
    for (std::size_t l = 0; l < start.size(); ++l)
        machine.set_matrix(0, machine.plan().weights[l], start[l].data());
    CHECK(machine.step(10));
    for (std::size_t l = 0; l < start.size(); ++l) {
        std::vector<double> layer(start[l].size());
        machine.get_matrix(0, machine.plan().weights[l], layer.data());
        all.insert(all.end(), layer.begin(), layer.end());
    }
    return all;
}

}  // namespace

TEST(a_loss_sees_all_rows_of_a_product) {
    for (const std::vector<Index>& widths :
         {std::vector<Index>{3, 2}, {4, 5, 3}, {2, 9, 7}, {20, 20, 20}}) {
        // Moments that make the same loss.
        tests::Batch<double> batch(widths, 1, 10, 0, 0.05);
        const Index n_in = widths.front();
        for (Index i = 0; i < n_in * n_in; ++i)
            batch.cov[static_cast<std::size_t>(i)] = i % (n_in + 1) == 0;
        for (Index i = 0; i < widths.back(); ++i) {
            for (Index j = 0; j < n_in; ++j)
                batch.cross[static_cast<std::size_t>(i * n_in + j)] =
                    DistanceEngine<double>::target(i, j);
        }
        CHECK(train(batch.problem, batch.descent, batch.results, {1, {}}));
        std::vector<double> want;
        for (const std::vector<double>& layer : batch.final_weights)
            want.insert(want.end(), layer.begin(), layer.end());

        const Plan plan = training_plan(batch.problem.chain, ResidualBy::loss);
        Steering<double> alone;
        alone.loss = std::make_unique<DistanceEngine<double>>(1);
        DirectMachine<double> direct(plan, false, std::move(alone));
        CHECK(trained(std::move(direct), batch.weights) == want);
        using P = Pack<double, native_lanes<double>>;
        Steering<P> packed;
        packed.loss = std::make_unique<DistanceEngine<P>>(native_lanes<double>);
        LaneMachine<double> lanes(plan, 1, nullptr, nullptr, false, std::move(packed));
        CHECK(trained(std::move(lanes), batch.weights) == want);
    }
}

namespace {

/// A problem on a loss that a function computes: 1/2 |P - M|^2 with M full of the run's parameter.
struct CalledBatch : tests::Batch<double> {
    std::vector<double> centres;

    explicit CalledBatch(Index n_runs, bool takes_many)
        : tests::Batch<double>({3, 4, 2}, n_runs, 40, 10, 0.05) {
        for (Index run = 0; run < n_runs; ++run) centres.push_back(0.1 * static_cast<double>(run));
        LossData called("custom", {n_runs}, 3, 2);
        called.sample_extent = 1;
        RunArray<double> parameters;
        parameters.data = centres.data();
        parameters.strides = {1};
        called.values["parameters"] = parameters;
        called.values["function"] = LossFunction{call, takes_many};
        problem.loss = std::move(called);
    }
    static void call(Index n, const double* products, const double* parameters, double* values,
                     double* gradients) {
        for (Index k = 0; k < n; ++k) {
            values[k] = 0;
            for (Index i = 6 * k; i < 6 * k + 6; ++i) {
                gradients[i] = products[i] - parameters[k];
                values[k] += 0.5 * gradients[i] * gradients[i];
            }
        }
    }
};

}  // namespace

TEST(a_function_sees_runs_with_their_parameters_in_any_company) {
    CalledBatch all(70, false);
    CHECK(train(all.problem, all.descent, all.results, {1, {}}));
    CHECK(std::abs(all.final_weights[0][0]) < 10);
    for (const bool takes_many : {false, true}) {
        for (const int n_threads : {1, 3}) {
            CalledBatch other(70, takes_many);
            CHECK(train(other.problem, other.descent, other.results, {n_threads, {}}));
            CHECK(all.final_weights == other.final_weights);
        }
    }
}

TEST(what_a_function_throws_ends_the_call) {
    for (const int n_threads : {1, 3}) {
        CalledBatch batch(70, true);
        batch.problem.loss.values["function"] =
            LossFunction{[](Index, const double*, const double*, double*, double*) {
                             throw std::runtime_error("of the function");
                         },
                         true};
        std::string what;
        try {
            train(batch.problem, batch.descent, batch.results, {n_threads, {}});
        } catch (const std::runtime_error& error) {
            what = error.what();
        }
        CHECK(what == "of the function");
    }
}

TEST(losses_and_observables_are_known_by_name) {
    std::set<std::string> names;
    for (const LossDeclaration& loss : losses()) {
        names.insert(loss.name);
        const LossData data(loss.name, {}, 2, 1);
        CHECK(data.declaration().name == loss.name);
        std::set<std::string> fields;
        for (const LossField& field : loss.fields) fields.insert(field.name);
        CHECK(fields.size() == loss.fields.size() && fields.count("name") == 0);
        CHECK(data.law() == nullptr);
    }
    CHECK(names.size() == losses().size());
    names.clear();
    for (std::size_t k = 0; k < observables().size(); ++k) {
        names.insert(observables()[k].name);
        CHECK(observable_of(observables()[k].name) == k);
    }
    CHECK(names.size() == observables().size());
    int n_refused = 0;
    try {
        LossData("cubic", {}, 2, 1);
    } catch (const std::invalid_argument&) {
        ++n_refused;
    }
    try {
        observable_of("los");
    } catch (const std::invalid_argument&) {
        ++n_refused;
    }
    CHECK(n_refused == 2);
}

TEST(runs_are_observed_where_they_stand) {
    for (const std::vector<Index>& widths : {std::vector<Index>{4, 4, 4}, {5, 3, 7, 2}}) {
        const Index n_runs = 37;
        tests::Batch<double> recorded(widths, n_runs, 2, 1);
        CHECK(train(recorded.problem, recorded.descent, recorded.results, {1, {}}));
        tests::Batch<double> seen(widths, n_runs, 2, 1);
        CHECK(observe(seen.problem, seen.results, {2, {}}));
        CHECK(seen.loss == recorded.loss);
        CHECK(seen.gradient == recorded.gradient);
        CHECK(seen.values == recorded.values);
        CHECK(seen.norms == recorded.norms);
        CHECK(seen.imbalance == recorded.imbalance);
    }
    tests::Batch<double> stopped({8, 8}, 100, 1, 1);
    CHECK(!observe(stopped.problem, stopped.results, {1, [](std::int64_t) { return true; }}) ||
          stopped.loss[99] != 0);
}
