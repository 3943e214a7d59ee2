// The linear algebra of data and starts has the same bits for every instruction set: this test is
// built for each of them.
#include <cstdint>
#include <cstring>
#include <vector>

#include "check.hpp"
#include "linnet/algebra.hpp"

using namespace linnet;

namespace {

/// Numbers in [-1, 1) that no library makes.
std::vector<double> numbers(Index n) {
    std::vector<double> x(static_cast<std::size_t>(n));
    std::uint64_t state = 20190101;
    for (double& value : x) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        value = static_cast<double>(state >> 11) * 0x1p-52 - 1;
    }
    return x;
}

std::uint64_t digest(const std::vector<double>& x) {
    std::uint64_t hash = 14695981039346656037u;
    for (const double value : x) {
        std::uint64_t bits = 0;
        std::memcpy(&bits, &value, sizeof bits);
        hash = (hash ^ bits) * 1099511628211u;
    }
    return hash;
}

constexpr Index n_runs = 3, n_rows = 301, n_columns = 37;
constexpr Index size = n_rows * n_columns;

RunArray<double> view(const std::vector<double>& x) { return {x.data(), {size}}; }

std::vector<double> zeros(Index n) { return std::vector<double>(static_cast<std::size_t>(n)); }

}  // namespace

TEST(cross_products_have_pinned_bits) {
    const std::vector<double> x = numbers(n_runs * size);
    std::vector<double> out = zeros(n_runs * n_columns * n_columns);
    cross_products(view(x), view(x), {n_runs}, n_rows, n_columns, n_columns, out.data(), {2, {}});
    CHECK(digest(out) == 5365770208876526618u);
}

TEST(orthonormal_columns_have_pinned_bits) {
    const std::vector<double> x = numbers(n_runs * size);
    std::vector<double> out = zeros(n_runs * size);
    orthonormal_columns(view(x), {n_runs}, n_rows, n_columns, out.data(), {2, {}});
    CHECK(digest(out) == 11163169579141157479u);
}

TEST(singular_vectors_have_pinned_bits) {
    const std::vector<double> x = numbers(n_runs * size);
    std::vector<double> left = zeros(n_runs * size), values = zeros(n_runs * n_columns),
                        right = zeros(n_runs * n_columns * n_columns);
    singular_vectors(view(x), {n_runs}, n_rows, n_columns, left.data(), values.data(), right.data(),
                     {2, {}});
    CHECK(digest(left) == 13235000494175062256u);
    CHECK(digest(values) == 16375150278591537160u);
    CHECK(digest(right) == 3255954832431313777u);
}
