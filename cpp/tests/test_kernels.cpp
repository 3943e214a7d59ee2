// Every kernel of the lane and the direct machine against a plain triple loop, to the last bit.
#include <random>
#include <vector>

#include "check.hpp"
#include "engines/direct_machine.hpp"
#include "engines/lane_machine.hpp"

using namespace linnet;

namespace {

template <class T>
std::vector<T> random_entries(std::mt19937& generator, Index count) {
    std::normal_distribution<double> normal;
    std::vector<T> entries(static_cast<std::size_t>(count));
    for (T& entry : entries) entry = static_cast<T>(normal(generator));
    return entries;
}

/// One operation of its own: C (rows, cols) with `inner` terms.
Plan single(Product kind, Index rows, Index cols, Index inner) {
    Plan plan;
    const bool a_transposed = kind == Product::store_tn || kind == Product::update_tn;
    const bool b_transposed = kind == Product::store_nt || kind == Product::update_nt;
    const bool residual = kind == Product::residual || kind == Product::residual_diagonal;
    if (residual) inner = cols;
    plan.n_storages = 3;
    plan.matrices.push_back({rows, cols, 0});
    plan.matrices.push_back(a_transposed
                                ? Plan::Matrix{inner, rows, 1}
                                : Plan::Matrix{rows, kind == Product::update_by ? cols : inner, 1});
    plan.matrices.push_back(b_transposed ? Plan::Matrix{cols, inner, 2}
                                         : Plan::Matrix{inner, cols, 2});
    plan.weights = {0};  // gives n_inputs = cols, n_outputs = rows
    plan.operations.push_back(
        {kind, 0, 1, residual || kind == Product::update_by ? -1 : 2, 0, 1.0, -1});
    return plan;
}

/// What the operation must give, entry by entry, in the order the kernels promise.
template <class T>
std::vector<T> expected(Product kind, const Plan& plan, std::vector<T> c, const std::vector<T>& a,
                        const std::vector<T>& b, const std::vector<T>& cov,
                        const std::vector<T>& cross, T step, T decay) {
    const Index rows = plan.matrices[0].rows;
    const Index cols = plan.matrices[0].cols;
    const Index inner = plan.inner(plan.operations[0]);
    const auto at = [](const std::vector<T>& m, Index ld, Index i, Index j) {
        return m[static_cast<std::size_t>(i * ld + j)];
    };
    for (Index i = 0; i < rows; ++i) {
        for (Index j = 0; j < cols; ++j) {
            T sum{};
            const bool residual = kind == Product::residual || kind == Product::residual_diagonal;
            if (residual) sum = -at(cross, cols, i, j);
            if (kind == Product::update_by) {
                sum = at(a, cols, i, j);
            } else if (kind == Product::residual_diagonal) {
                sum = linnet::fma(at(a, cols, i, j), at(cov, cols, j, j), sum);
            } else {
                for (Index k = 0; k < inner; ++k) {
                    const bool a_transposed =
                        kind == Product::store_tn || kind == Product::update_tn;
                    const bool b_transposed =
                        kind == Product::store_nt || kind == Product::update_nt;
                    const T left = a_transposed ? at(a, rows, k, i) : at(a, inner, i, k);
                    const T right = residual       ? at(cov, cols, k, j)
                                    : b_transposed ? at(b, inner, j, k)
                                                   : at(b, cols, k, j);
                    sum = linnet::fma(left, right, sum);
                }
            }
            T& out = c[static_cast<std::size_t>(i * cols + j)];
            const bool update = kind == Product::update_tn || kind == Product::update_nt ||
                                kind == Product::update_by;
            out = update ? descend(out, sum, step, decay == 0 ? nullptr : &decay) : sum;
        }
    }
    return c;
}

template <class T>
void compare(Product kind, Index rows, Index cols, Index inner, std::mt19937& generator) {
    const Plan plan = single(kind, rows, cols, inner);
    const auto size = [&](int id) {
        return plan.matrices[static_cast<std::size_t>(id)].rows *
               plan.matrices[static_cast<std::size_t>(id)].cols;
    };
    for (const bool with_decay : {false, true}) {
        const auto a = random_entries<T>(generator, size(1));
        const auto b = random_entries<T>(generator, size(2));
        const auto c = random_entries<T>(generator, size(0));
        auto cov = random_entries<T>(generator, cols * cols);
        const auto cross = random_entries<T>(generator, rows * cols);
        const std::vector<double> double_cov(cov.begin(), cov.end());
        const std::vector<double> double_cross(cross.begin(), cross.end());
        const auto set_moments = [&](auto& machine, int slot) {
            if (plan.has_moments())
                machine.set_moments(slot, double_cov.data(), double_cross.data());
        };
        const T step = static_cast<T>(0.37);
        const T decay = with_decay ? static_cast<T>(0.11) : T{0};
        const auto own_decay = static_cast<double>(decay);
        const auto want = expected(kind, plan, c, a, b, cov, cross, step, decay);
        std::vector<T> got(c.size());
        const std::string what = "kind " + std::to_string(static_cast<int>(kind)) + ", " +
                                 std::to_string(rows) + " x " + std::to_string(cols) + " x " +
                                 std::to_string(inner);

        DirectMachine<T> direct(plan, with_decay);
        set_moments(direct, 0);
        direct.set_rates(0, &step, &own_decay);
        direct.set_matrix(0, 1, a.data());
        if (kind != Product::update_by) direct.set_matrix(0, 2, b.data());
        direct.set_matrix(0, 0, c.data());
        direct.step(1);
        direct.get_matrix(0, 0, got.data());
        CHECK_MESSAGE(got == want, "direct, " + what);

        for (const bool shared : {false, true}) {
            if (!shared && kind == Product::residual_diagonal)
                continue;  // planned for shared moments only
            LaneMachine<T> lanes(plan, 2, shared ? cov.data() : nullptr,
                                 shared ? cross.data() : nullptr, with_decay);
            for (const int slot : {0, native_lanes<T> + 1}) {
                set_moments(lanes, slot);
                lanes.set_rates(slot, &step, &own_decay);
                lanes.set_matrix(slot, 1, a.data());
                if (kind != Product::update_by) lanes.set_matrix(slot, 2, b.data());
                lanes.set_matrix(slot, 0, c.data());
            }
            lanes.step(1);
            for (const int slot : {0, native_lanes<T> + 1}) {
                lanes.get_matrix(slot, 0, got.data());
                CHECK_MESSAGE(got == want, "lanes, " + what);
            }
        }
    }
}

template <class T>
void compare_all() {
    std::mt19937 generator(1);
    for (const Product kind :
         {Product::store, Product::store_tn, Product::store_nt, Product::update_tn,
          Product::update_nt, Product::update_by, Product::residual, Product::residual_diagonal}) {
        for (const Index rows : {1, 2, 3, 5, 8, 9, 17}) {
            for (const Index cols : {1, 4, 7, 8, 16, 23, 65}) {
                for (const Index inner : {1, 2, 6, 19})
                    compare<T>(kind, rows, cols, inner, generator);
            }
        }
    }
}

}  // namespace

TEST(kernels_of_double_equal_the_triple_loop) { compare_all<double>(); }
TEST(kernels_of_float_equal_the_triple_loop) { compare_all<float>(); }

TEST(transpose_turns_rows_into_columns) {
    std::mt19937 generator(2);
    constexpr Index lanes = native_lanes<float>;
    const auto from = random_entries<float>(generator, 4 * lanes * lanes);
    Arena<float> source(4 * lanes * lanes);
    Arena<float> target(4 * lanes * lanes);
    std::copy(from.begin(), from.end(), source.data());
    transpose(source.data(), 2 * lanes, 2 * lanes, 2 * lanes, target.data(), 2 * lanes);
    for (Index i = 0; i < 2 * lanes; ++i) {
        for (Index j = 0; j < 2 * lanes; ++j)
            CHECK(target.data()[j * 2 * lanes + i] == source.data()[i * 2 * lanes + j]);
    }
}

TEST(blocks_cover_the_extent_evenly) {
    for (Index extent = 1; extent < 40; ++extent) {
        for (const Index most : {1, 3, 4, 8}) {
            const Blocks blocks(extent, most);
            Index total = 0;
            for (Index k = 0; k < blocks.count; ++k) {
                CHECK(blocks.size(k) >= 1 && blocks.size(k) <= most);
                total += blocks.size(k);
            }
            CHECK(total == extent);
        }
    }
}
