// The ways that are faster than one operation after the other are recognised by the order of the
// operations: they must be found where they are meant to be, and nowhere else.
#include <utility>
#include <vector>

#include "check.hpp"
#include "engines/direct_machine.hpp"
#include "engines/lane_machine.hpp"

using namespace linnet;

namespace {

constexpr Kept with_momentum{true, 1};

/// n_layers diagonal layers of width d, the last of them dense with one output.
Chain diagonal_network(Index d, int n_layers) {
    Chain chain;
    for (int l = 0; l < n_layers; ++l) {
        Factor factor;
        factor.cols = d;
        factor.rows = l + 1 == n_layers ? 1 : d;
        factor.array = l;
        factor.dense = l + 1 == n_layers;
        for (std::int32_t i = 0; i < d && !factor.dense; ++i)
            factor.entries.push_back({i, i, i, 1});
        chain.factors.push_back(std::move(factor));
        chain.sizes.push_back(d);
    }
    return chain;
}

/// n_layers circular convolutions with n_taps weights each, and, of one output, a dense one on top.
Chain convolutions(std::int32_t width, std::int32_t n_taps, int n_layers, bool one_output) {
    Chain chain;
    for (int l = 0; l < n_layers; ++l) {
        Factor factor;
        factor.rows = factor.cols = width;
        factor.array = l;
        for (std::int32_t i = 0; i < width; ++i) {
            for (std::int32_t w = 0; w < n_taps; ++w)
                factor.entries.push_back({i, (i + w) % width, w, 1});
        }
        chain.factors.push_back(std::move(factor));
        chain.sizes.push_back(n_taps);
    }
    if (one_output) {
        Factor top;
        top.rows = 1;
        top.cols = width;
        top.array = n_layers;
        top.dense = true;
        chain.factors.push_back(std::move(top));
        chain.sizes.push_back(width);
    }
    return chain;
}

/// Which way does a machine go?
struct Ways {
    bool fused, separable;
    bool operator==(const Ways& o) const { return fused == o.fused && separable == o.separable; }
};
constexpr Ways operation_by_operation{false, false};

template <class T>
Ways ways_of(const Plan& plan, bool shared_moments = true) {
    const auto n_in = static_cast<std::size_t>(plan.n_inputs());
    const std::vector<T> cov(n_in * n_in);
    const std::vector<T> cross(n_in * static_cast<std::size_t>(plan.n_outputs()));
    const T* const none = nullptr;
    const LaneMachine<T> machine(plan, 2, shared_moments ? cov.data() : none,
                                 shared_moments ? cross.data() : none, true);
    return {machine.is_fused(), machine.is_separable()};
}

template <class T>
void check_ways() {
    for (const Index width : {2, 3, 4}) {
        const Chain chain = Chain::dense({width, width, width});
        const bool fits = width <= lane_tile;
        const Plan plan = training_plan(chain, ResidualBy::moments);
        CHECK(fused_width(plan) == (fits ? width : 0));
        CHECK((ways_of<T>(plan) == Ways{fits, false}));
        CHECK((ways_of<T>(plan, false) == Ways{fits, false}));
        // With a rule or a memory the list of operations is another one.
        for (const ResidualBy by : {ResidualBy::moments, ResidualBy::diagonal_moments}) {
            CHECK(ways_of<T>(training_plan(chain, by, true)) == operation_by_operation);
            CHECK(ways_of<T>(training_plan(chain, by, false, with_momentum)) ==
                  operation_by_operation);
            CHECK(ways_of<T>(training_plan(chain, by, true, with_momentum)) ==
                  operation_by_operation);
        }
        CHECK(ways_of<T>(training_plan(chain, ResidualBy::loss)) == operation_by_operation);
        CHECK(ways_of<T>(gradient_plan(chain, ResidualBy::moments)) == operation_by_operation);
        CHECK(ways_of<T>(slope_plan(chain, ResidualBy::moments)) == operation_by_operation);
    }
    for (const std::vector<Index>& widths :
         {std::vector<Index>{5, 5, 5}, {3, 3}, {3, 3, 3, 3}, {2, 3, 2}, {3, 3, 2}, {1, 1, 1}}) {
        const Plan plan = training_plan(Chain::dense(widths), ResidualBy::moments);
        CHECK(ways_of<T>(plan) == operation_by_operation);
    }
    for (int n_layers = 2; n_layers <= most_separable_layers; ++n_layers) {
        const Chain chain = diagonal_network(9, n_layers);
        const Plan plan = training_plan(chain, ResidualBy::diagonal_moments);
        const std::vector<int> order = separable_order(plan);
        CHECK(order.size() == static_cast<std::size_t>(n_layers));
        CHECK(!order.empty() && order.front() == plan.weights.back());
        CHECK((ways_of<T>(plan) == Ways{false, true}));
        CHECK(ways_of<T>(plan, false) == operation_by_operation);
        CHECK(ways_of<T>(training_plan(chain, ResidualBy::moments)) == operation_by_operation);
        CHECK(ways_of<T>(training_plan(chain, ResidualBy::loss)) == operation_by_operation);
        CHECK(ways_of<T>(training_plan(chain, ResidualBy::diagonal_moments, true)) ==
              operation_by_operation);
        CHECK(ways_of<T>(training_plan(chain, ResidualBy::diagonal_moments, false,
                                       with_momentum)) == operation_by_operation);
        CHECK(ways_of<T>(gradient_plan(chain, ResidualBy::diagonal_moments)) ==
              operation_by_operation);
        if (n_layers > 2) {
            Chain shared = chain;  // two layers with one array
            for (int l = 1; l < n_layers; ++l)
                shared.factors[static_cast<std::size_t>(l)].array = l - 1;
            shared.sizes.pop_back();
            CHECK(ways_of<T>(training_plan(shared, ResidualBy::diagonal_moments)) ==
                  operation_by_operation);
        }
    }
    const Chain too_deep = diagonal_network(9, most_separable_layers + 1);
    CHECK(ways_of<T>(training_plan(too_deep, ResidualBy::diagonal_moments)) ==
          operation_by_operation);
}

/// How many of the operations with a pattern of a plan are diagonal, are stencils, are neither?
struct Patterns {
    int diagonal = 0, stencil = 0, other = 0;
};
Patterns patterns_of(const Plan& plan) {
    Patterns found;
    for (const Operation& operation : plan.operations) {
        if (!is_pattern(operation.kind)) continue;
        const auto ld = [&](int id) { return plan.matrices[static_cast<std::size_t>(id)].cols; };
        const PatternCall<double> call(plan, operation, ld(operation.c), ld(operation.a),
                                       ld(operation.b));
        ++(call.is_diagonal() ? found.diagonal : call.is_stencil() ? found.stencil : found.other);
    }
    return found;
}

/// Three steps, as a machine does them and by one operation after the other; returns how many sweeps
/// there are in one.
template <class T, class Make>
int compare_passes(const Plan& plan, const Make& make, bool decays) {
    using Machine = decltype(make());
    std::uint64_t state = 9;
    const auto number = [&state] {
        state = state * 6364136223846793005U + 1442695040888963407U;
        return static_cast<T>(static_cast<double>(state >> 11) / 9007199254740992.0 - 0.5);
    };
    const auto n_layers = static_cast<std::size_t>(plan.n_layers());
    const auto set = [&](Machine& machine) {
        state = 9;
        for (int slot = 0; slot < machine.n_slots(); ++slot) {
            for (const int id : plan.weights) {
                const Plan::Matrix& shape = plan.matrices[static_cast<std::size_t>(id)];
                std::vector<T> numbers(static_cast<std::size_t>(shape.rows * shape.cols));
                for (T& x : numbers) x = number();
                machine.set_matrix(slot, id, numbers.data());
            }
            std::vector<T> steps(n_layers);
            std::vector<double> rates(n_layers);
            for (std::size_t l = 0; l < n_layers; ++l) {
                steps[l] = static_cast<T>(0.01) * (1 + number());
                rates[l] = decays ? 0.1 : 0;
            }
            machine.set_rates(slot, steps.data(), rates.data());
            std::vector<double> cov(static_cast<std::size_t>(plan.n_inputs() * plan.n_inputs()));
            std::vector<double> cross(static_cast<std::size_t>(plan.n_inputs() * plan.n_outputs()));
            for (double& x : cov) x = static_cast<double>(number());
            for (double& x : cross) x = static_cast<double>(number());
            machine.set_moments(slot, cov.data(), cross.data());
        }
    };
    Machine machine = make();
    Machine plain = make();
    set(machine);
    set(plain);
    const std::size_t n_groups =
        static_cast<std::size_t>(machine.n_slots() / Machine::lanes) + (Machine::packed ? 0 : 1);
    for (int step = 0; step < 3; ++step) {
        machine.run(0, plan.operations.size(), 0, n_groups);
        for (std::size_t k = 0; k < plan.operations.size(); ++k) plain.run(k, k + 1, 0, n_groups);
    }
    for (int slot = 0; slot < machine.n_slots(); ++slot) {
        for (const int id : plan.weights) {
            const Plan::Matrix& shape = plan.matrices[static_cast<std::size_t>(id)];
            std::vector<T> one(static_cast<std::size_t>(shape.rows * shape.cols));
            std::vector<T> other(one.size());
            machine.get_matrix(slot, id, one.data());
            plain.get_matrix(slot, id, other.data());
            CHECK(one == other);
        }
    }
    return machine.n_passes();
}

template <class T>
void check_passes() {
    struct Case {
        std::vector<Index> widths;
        int direct, lanes;  // sweeps of a step, in double precision with eight lanes
    };
    // Errors pass back through all layers but the last one in the order of a step; lanes leave out what is
    // small.
    for (const Case& one :
         {Case{{10, 70, 40, 1}, 2, 2}, Case{{64, 33, 1}, 1, 1}, Case{{9, 100, 61, 2}, 2, 2},
          Case{{1, 64, 64, 3}, 0, 1}, Case{{1, 64, 33, 1}, 0, 1}, Case{{3, 70, 41, 4}, 0, 1},
          Case{{5, 60, 40, 5}, 0, 0}, Case{{50, 43, 37, 7}, 2, 0}, Case{{50, 43, 37, 8}, 2, 0},
          Case{{50, 43, 37, 9}, 0, 0}, Case{{90, 23, 3}, 1, 1}, Case{{40, 51, 4}, 1, 1},
          Case{{4, 3, 1}, 1, 0}, Case{{6, 6, 6}, 0, 0}}) {
        const Chain chain = Chain::dense(one.widths);
        for (const bool decays : {false, true}) {
            const Plan plan = training_plan(chain, ResidualBy::moments);
            const int direct =
                compare_passes<T>(plan, [&] { return DirectMachine<T>(plan, decays); }, decays);
            const int lanes = compare_passes<T>(
                plan, [&] { return LaneMachine<T>(plan, 2, nullptr, nullptr, decays); }, decays);
            CHECK(direct == one.direct);
            if (vector_bytes == 64) CHECK(lanes == one.lanes);
        }
        // With a memory gradients are stored before anything moves.
        const Plan plan = training_plan(chain, ResidualBy::moments, false, with_momentum);
        CHECK(DirectMachine<T>(plan, false).n_passes() == 0);
        CHECK(LaneMachine<T>(plan, 1, nullptr, nullptr, false).n_passes() == 0);
    }
}

}  // namespace

TEST(layers_are_updated_while_errors_pass_in_double) { check_passes<double>(); }
TEST(layers_are_updated_while_errors_pass_in_float) { check_passes<float>(); }
TEST(steps_in_double_leave_the_registers_only_where_they_must) { check_ways<double>(); }
TEST(steps_in_float_leave_the_registers_only_where_they_must) { check_ways<float>(); }

TEST(patterns_of_convolutions_and_diagonals_are_recognised) {
    const auto every_plan = [](const Chain& chain, const auto& look_at) {
        for (const ResidualBy by :
             {ResidualBy::moments, ResidualBy::diagonal_moments, ResidualBy::loss}) {
            for (const bool rule : {false, true}) {
                look_at(patterns_of(training_plan(chain, by, rule)));
                look_at(patterns_of(training_plan(chain, by, rule, with_momentum)));
            }
            look_at(patterns_of(gradient_plan(chain, by)));
            look_at(patterns_of(slope_plan(chain, by)));
        }
    };
    for (const bool one_output : {false, true}) {
        for (const int n_taps : {2, 3, 8}) {
            // Per convolution: on the way to the product, back, and by the weights; but nothing
            // goes further back than the first one.
            every_plan(convolutions(8, n_taps, 3, one_output), [&](const Patterns& found) {
                CHECK(found.stencil == (one_output ? 9 : 8));
                CHECK(found.diagonal == 0 && found.other == 0);
            });
        }
    }
    every_plan(diagonal_network(7, 4), [](const Patterns& found) {
        CHECK(found.diagonal == 9);
        CHECK(found.stencil == 0 && found.other == 0);
    });
    // One that is cut off at the ends, and one with coefficients.
    Chain cut = convolutions(8, 3, 1, false);
    auto& entries = cut.factors[0].entries;
    entries.pop_back();
    CHECK(patterns_of(training_plan(cut, ResidualBy::moments)).stencil == 0);
    Chain weighted = convolutions(8, 3, 1, false);
    weighted.factors[0].entries[4].coefficient = 2;
    CHECK(patterns_of(training_plan(weighted, ResidualBy::moments)).stencil == 0);
}
