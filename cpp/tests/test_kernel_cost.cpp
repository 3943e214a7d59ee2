// kernel_cost(): certified, the same bits alone and in a batch, nothing allocated in the loop.
#include <cmath>
#include <random>

#include "check.hpp"
#include "linnet/kernel_cost.hpp"

using namespace linnet;

namespace {

/// Problems with results.
struct Problems {
    KernelProblem problem;
    KernelResults results;
    std::vector<double> spectra, upper, lower, kernels;
    Index size = 0;
    double n_layers = 1;

    Problems(Index extent, Index n, std::vector<Index> taps, std::vector<Index> dilations,
             std::vector<double> multiplicities)
        : upper(static_cast<std::size_t>(n)),
          lower(static_cast<std::size_t>(n)) {
        const Index n_frequencies = extent / 2 + 1;
        std::mt19937_64 generator(7);
        std::normal_distribution<double> normal;
        spectra.resize(static_cast<std::size_t>(n * n_frequencies));
        for (double& c : spectra) c = std::pow(normal(generator), 2);
        for (const Index k : taps) size += k;
        for (const double m : multiplicities) n_layers += m;
        kernels.resize(static_cast<std::size_t>(n * size));
        problem = {extent,          n_frequencies,        n,
                   std::move(taps), std::move(dilations), std::move(multiplicities),
                   spectra.data()};
        results = {upper.data(), lower.data(), kernels.data()};
    }
    double gap() const {
        double worst = 0;
        for (std::size_t i = 0; i < upper.size(); ++i)
            worst = std::max(worst, (upper[i] - lower[i]) / n_layers);
        return worst;
    }
};

long allocations_of(Index extent, Index n, std::vector<Index> taps, double scale = 1) {
    Problems problems(extent, n, std::move(taps), {1, 2}, {1, 3});
    // Few frequencies, over many orders of magnitude: the harder ways to a lower bound.
    for (std::size_t i = 0; i < problems.spectra.size() && scale < 1; ++i)
        problems.spectra[i] *= std::pow(scale, static_cast<double>(i % 7));
    const long before = tests::allocations();
    kernel_cost(problems.problem, problems.results, {1, {}});
    return tests::allocations() - before;
}

}  // namespace

TEST(kernel_costs_are_certified) {
    for (const Index extent : {1, 2, 5, 16, 64}) {
        for (const double m : {1.0, 3.0, 199.0}) {
            for (const std::vector<Index>& taps :
                 {std::vector<Index>{1, 1}, {3, 2}, {9, 4}, {20, 33}}) {
                Problems problems(extent, 20, taps, {1, 3}, {m, 1});
                CHECK(kernel_cost(problems.problem, problems.results, {2, {}}));
                CHECK_MESSAGE(problems.gap() <= 1e-10, std::to_string(problems.gap()));
                for (std::size_t i = 0; i < problems.upper.size(); ++i)
                    CHECK(problems.lower[i] <= problems.upper[i]);
            }
        }
    }
}

TEST(kernel_costs_do_not_depend_on_threads_or_on_neighbours) {
    Problems one(33, 40, {7, 3}, {1, 2}, {2, 1});
    Problems many(33, 40, {7, 3}, {1, 2}, {2, 1});
    // Some frequencies without weight, and a hard problem in between.
    for (Problems* p : {&one, &many}) {
        for (std::size_t i = 0; i < p->spectra.size(); i += 5) p->spectra[i] = 0;
        for (std::size_t i = 0; i < 17; ++i)
            p->spectra[4 * 17 + i] *= std::pow(10.0, -2.0 * static_cast<double>(i));
    }
    kernel_cost(one.problem, one.results, {1, {}});
    kernel_cost(many.problem, many.results, {4, {}});
    CHECK(one.upper == many.upper);
    CHECK(one.lower == many.lower);
    CHECK(one.kernels == many.kernels);
    for (const std::size_t which : {0, 5, 39}) {
        double upper = 0;
        double lower = 0;
        std::vector<double> kernels(10);
        KernelProblem problem = one.problem;
        problem.n_problems = 1;
        problem.spectra += which * 17;
        kernel_cost(problem, {&upper, &lower, kernels.data()}, {1, {}});
        CHECK(upper == one.upper[which]);
        CHECK(lower == one.lower[which]);
        for (std::size_t t = 0; t < 10; ++t) CHECK(kernels[t] == one.kernels[which * 10 + t]);
    }
}

TEST(kernel_costs_scale_with_the_spectrum) {
    Problems one(24, 10, {5, 3}, {1, 1}, {1, 2});
    Problems scaled(24, 10, {5, 3}, {1, 1}, {1, 2});
    for (double& c : scaled.spectra) c *= 1e-12;
    kernel_cost(one.problem, one.results, {1, {}});
    kernel_cost(scaled.problem, scaled.results, {1, {}});
    for (std::size_t i = 0; i < one.upper.size(); ++i) {
        CHECK(std::abs(one.upper[i] + std::log(1e-12) - scaled.upper[i]) < 1e-12);
        CHECK(std::abs(one.lower[i] + std::log(1e-12) - scaled.lower[i]) < 1e-9);
    }
}

TEST(kernel_costs_allocate_nothing_per_problem) {
    for (const double scale : {1.0, 1e-12}) {
        for (const std::vector<Index>& taps : {std::vector<Index>{3, 2}, {9, 9}, {40, 33}}) {
            const long few = allocations_of(64, 1, taps, scale);
            const long many = allocations_of(64, 40, taps, scale);
            CHECK_MESSAGE(few == many, std::to_string(few) + " against " + std::to_string(many));
        }
    }
}

TEST(poll_stops_kernel_costs) {
    Problems problems(64, 200'000, {9}, {1}, {1});
    int polls = 0;
    const bool finished = kernel_cost(problems.problem, problems.results,
                                      {2, [&](std::int64_t) { return ++polls >= 2; }});
    CHECK(!finished);
    CHECK(polls >= 2);
}

TEST(no_kernel_costs_are_fine) {
    Problems none(8, 0, {2}, {1}, {1});
    CHECK(kernel_cost(none.problem, none.results, {2, {}}));
}
