// Subspaces that a chain of dense layers moves in: closed under its layers, orthonormal, and as small as
// they can be; eigenvectors of symmetric matrices.
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "check.hpp"
#include "linnet/algebra.hpp"
#include "linnet/reduction.hpp"

using namespace linnet;

namespace {

using Matrix = std::vector<double>;

std::size_t at(Index i) { return static_cast<std::size_t>(i); }

Matrix normal(Index size, unsigned seed) {
    std::mt19937 generator(seed);
    std::normal_distribution<double> draw;
    Matrix a(at(size));
    for (double& x : a) x = draw(generator);
    return a;
}

/// a (rows, inner) times b (inner, columns).
Matrix product(const Matrix& a, const Matrix& b, Index rows, Index inner, Index columns) {
    Matrix c(at(rows * columns), 0.0);
    for (Index i = 0; i < rows; ++i) {
        for (Index k = 0; k < inner; ++k) {
            for (Index j = 0; j < columns; ++j)
                c[at(i * columns + j)] += a[at(i * inner + k)] * b[at(k * columns + j)];
        }
    }
    return c;
}

Matrix transposed(const Matrix& a, Index rows, Index columns) {
    Matrix b(a.size());
    for (Index i = 0; i < rows; ++i) {
        for (Index j = 0; j < columns; ++j) b[at(j * rows + i)] = a[at(i * columns + j)];
    }
    return b;
}

/// The largest entry of what of x (n, columns) lies outside the span of q (n, width).
double outside(const Matrix& q, const Matrix& x, Index n, Index width, Index columns) {
    const Matrix along = product(transposed(q, n, width), x, width, n, columns);
    const Matrix inside = product(q, along, n, width, columns);
    double most = 0;
    for (std::size_t i = 0; i < x.size(); ++i) most = std::max(most, std::fabs(x[i] - inside[i]));
    return most;
}

struct Found {
    std::vector<Matrix> hidden;
    Matrix unseen;
    std::vector<std::int64_t> ranks;
};

Found find(const std::vector<Index>& widths, const std::vector<Matrix>& weights, Index most,
           const Matrix* seen = nullptr, Index n_seen = 0) {
    SubspaceProblem problem;
    problem.widths = widths;
    problem.most = most;
    for (const Matrix& w : weights) problem.weights.push_back({w.data(), {}});
    problem.n_seen = seen == nullptr ? widths.front() : n_seen;
    if (seen != nullptr) problem.seen = {seen->data(), {}};
    Found found;
    Subspaces out;
    for (std::size_t l = 1; l < weights.size(); ++l) {
        found.hidden.emplace_back(at(widths[l] * problem.room(l)));
    }
    for (Matrix& basis : found.hidden) out.hidden.push_back(basis.data());
    found.unseen.resize(at(widths.front() * std::min(widths.front() - problem.n_seen, most)));
    found.ranks.resize(weights.size());
    out.unseen = found.unseen.data();
    out.ranks = found.ranks.data();
    find_subspaces(problem, out, {1, {}});
    return found;
}

}  // namespace

TEST(subspaces_of_two_layers_hold_inputs_and_outputs) {
    const std::vector<Index> widths{4, 30, 3};
    const std::vector<Matrix> weights{normal(120, 1), normal(90, 2)};
    const Found found = find(widths, weights, 7);
    CHECK(found.ranks[0] == 0 && found.ranks[1] == 7);
    const Matrix& q = found.hidden[0];
    CHECK(outside(q, weights[0], 30, 7, 4) < 1e-14);
    CHECK(outside(q, transposed(weights[1], 3, 30), 30, 7, 3) < 1e-14);
    const Matrix gram = product(transposed(q, 30, 7), q, 7, 30, 7);
    for (Index i = 0; i < 7; ++i) {
        for (Index j = 0; j < 7; ++j)
            CHECK(std::fabs(gram[at(i * 7 + j)] - (i == j ? 1 : 0)) < 1e-14);
    }
}

TEST(subspaces_are_closed_under_layers_and_their_transposes) {
    // Layers that permute axes: orthogonal, and exact.
    const std::vector<Index> widths{2, 20, 20, 1};
    Matrix turn(400, 0.0);
    for (Index i = 0; i < 20; ++i) turn[at(i * 20 + (7 * i + 3) % 20)] = 0.5;
    const std::vector<Matrix> weights{normal(40, 3), turn, normal(20, 4)};
    const Found found = find(widths, weights, 6);
    CHECK(found.ranks[1] == 3 && found.ranks[2] == 3);
    // The bases have room for 6 columns; those behind the third are 0.
    const Matrix up = product(turn, found.hidden[0], 20, 20, 6);
    CHECK(outside(found.hidden[1], up, 20, 6, 6) < 1e-14);
    const Matrix down = product(transposed(turn, 20, 20), found.hidden[1], 20, 20, 6);
    CHECK(outside(found.hidden[0], down, 20, 6, 6) < 1e-14);
}

TEST(deep_gaussian_chains_have_no_small_subspaces) {
    const Found found = find({2, 20, 20, 1}, {normal(40, 3), normal(400, 5), normal(20, 4)}, 6);
    for (const std::int64_t rank : found.ranks) CHECK(rank == -1);
}

TEST(directions_count_however_small_they_are) {
    Matrix first(60, 0.0);
    first[0] = 1;
    first[4] = 1e-30;   // row 1, column 1
    first[8] = 1e-200;  // row 2, column 2
    const Found found = find({3, 20, 1}, {first, Matrix(20, 0.0)}, 4);
    CHECK(found.ranks[1] == 3);
    // What is the rounding of another direction does not.
    Matrix twice(60, 0.0);
    for (Index i = 0; i < 20; ++i) {
        twice[at(3 * i)] = std::sin(1.0 + static_cast<double>(i));
        twice[at(3 * i + 1)] = 3 * twice[at(3 * i)];
        twice[at(3 * i + 2)] = twice[at(3 * i)] / 7;
    }
    CHECK(find({3, 20, 1}, {twice, Matrix(20, 0.0)}, 4).ranks[1] == 1);
}

TEST(what_is_not_seen_of_the_inputs_is_what_the_layers_above_see) {
    const Matrix seen{1, 0, 0, 0, 0};  // the first of five inputs
    const std::vector<Matrix> weights{normal(150, 6), normal(30, 7)};
    const Found found = find({5, 30, 1}, weights, 2, &seen, 1);
    CHECK(found.ranks[1] == 2);
    CHECK(found.ranks[0] == 2);
    for (Index j = 0; j < 2; ++j) CHECK(std::fabs(found.unseen[at(j)]) < 1e-15);
}

TEST(weights_that_are_no_numbers_have_empty_subspaces) {
    Matrix bad = normal(120, 1);
    bad[5] = std::numeric_limits<double>::quiet_NaN();
    const Found found = find({4, 30, 3}, {bad, normal(90, 2)}, 7);
    for (const std::int64_t rank : found.ranks) CHECK(rank == 0);
    for (const double x : found.hidden[0]) CHECK(x == 0);
}

TEST(eigenvectors_turn_a_matrix_into_its_eigenvalues) {
    const Index n = 9;
    const Matrix half = normal(n * n, 8);
    const Matrix a = product(half, transposed(half, n, n), n, n, n);
    Matrix values(at(n));
    Matrix vectors(at(n * n));
    symmetric_eigenvectors({a.data(), {}}, {}, n, values.data(), vectors.data(), {1, {}});
    const Matrix turned = product(a, vectors, n, n, n);
    for (Index i = 0; i < n; ++i) {
        for (Index j = 0; j < n; ++j)
            CHECK(std::fabs(turned[at(i * n + j)] - values[at(j)] * vectors[at(i * n + j)]) <
                  1e-13);
        if (i > 0) CHECK(values[at(i - 1)] <= values[at(i)]);
    }
}
