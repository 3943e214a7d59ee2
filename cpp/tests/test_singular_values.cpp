// Singular values against Eigen's Jacobi SVD in long double, and lanes against plain numbers, bit
// for bit.
#include <Eigen/Dense>
#include <cmath>
#include <limits>
#include <random>

#include "check.hpp"
#include "observables/probe.hpp"

using namespace linnet;

namespace {

using Matrix = Eigen::MatrixXd;
using Values = std::vector<double>;
constexpr int lanes = native_lanes<double>;
using V = Pack<double, lanes>;

std::mt19937& generator() {
    static std::mt19937 instance(3);
    return instance;
}
Matrix gaussian(Index rows, Index cols) {
    std::normal_distribution<double> normal;
    return Matrix::NullaryExpr(rows, cols, [&] { return normal(generator()); });
}
Matrix orthogonal(Index n) { return Eigen::HouseholderQR<Matrix>(gaussian(n, n)).householderQ(); }

/// The i-th singular value of the k-th kind of hard case.
double spectrum(int kind, Index i, Index n) {
    std::normal_distribution<double> normal;
    switch (kind) {
        case 0:
            return std::abs(normal(generator()));  // generic
        case 1:
            return std::pow(10.0,
                            -static_cast<double>(generator()() % 16));  // graded, in any order
        case 2:
            return 1;  // all equal
        case 3:
            return 1 + 1e-6 * normal(generator());  // crowded
        case 4:
            return i < n / 2 ? 3 + 1e-6 * normal(generator()) : 1 + 1e-8 * normal(generator());
        case 5:
            return i < n / 3 ? 1 : 0;  // rank deficient
        case 6:
            return 0;
        case 7:  // many that nearly coincide among others
            return i % 2 == 0 ? 1 + 1e-9 * normal(generator())
                              : 0.1 + std::abs(normal(generator()));
        case 8:
            return std::pow(10.0, -20.0 * static_cast<double>(i));
        default:
            return 1e-160 * (1 + static_cast<double>(i));  // squares underflow
    }
}

template <class W>
Values sorted(SingularValues<W>& solver, const std::vector<Matrix>& matrices, int lane) {
    const auto entry = [&](Index i, Index j) {
        if constexpr (std::is_same_v<W, double>) {
            return matrices[static_cast<std::size_t>(lane)](i, j);
        } else if constexpr (std::is_same_v<W, V>) {
            W x;
            for (int r = 0; r < lanes; ++r) x[r] = matrices[static_cast<std::size_t>(r)](i, j);
            return x;
        } else {
            W x;
            for (int r = 0; r < lanes; ++r) {
                x.a[r] = matrices[static_cast<std::size_t>(r)](i, j);
                x.b[r] = matrices[static_cast<std::size_t>(lanes - 1 - r)](i, j);
            }
            return x;
        }
    };
    const W* const found = solver.of(entry, [] { return false; });
    Values values;
    for (Index i = 0; i < solver.count(); ++i) {
        if constexpr (std::is_same_v<W, double>) {
            values.push_back(found[i]);
        } else if constexpr (std::is_same_v<W, V>) {
            values.push_back(found[i][lane]);
        } else {
            values.push_back(found[i].a[lane]);
        }
    }
    std::sort(values.rbegin(), values.rend());
    return values;
}

}  // namespace

TEST(singular_values_are_accurate_and_lanes_agree) {
    double worst = 0;
    for (int kind = 0; kind < 10; ++kind) {
        for (int trial = 0; trial < 20; ++trial) {
            const Index rows = trial == 0 ? 40 : 1 + generator()() % 20;
            const Index cols = trial == 0 ? 40 : 1 + generator()() % 20;
            const Index n = std::min(rows, cols);
            std::vector<Matrix> matrices;
            for (int r = 0; r < lanes; ++r) {
                const Eigen::VectorXd s =
                    Eigen::VectorXd::NullaryExpr(n, [&](Index i) { return spectrum(kind, i, n); });
                const Matrix a = orthogonal(rows).leftCols(n) * s.asDiagonal() *
                                 orthogonal(cols).leftCols(n).transpose();
                matrices.push_back(
                    trial % 4 == 3 ? Matrix(a.rowwise().reverse().colwise().reverse()) : a);
            }
            SingularValues<V> packed(rows, cols);
            SingularValues<Twin<V>> twins(rows, cols);
            SingularValues<double> plain(rows, cols);
            for (int r = 0; r < lanes; ++r) {
                const Values values = sorted(packed, matrices, r);
                CHECK(values == sorted(plain, matrices, r));
                CHECK(values == sorted(twins, matrices, r));
                using Long = Eigen::Matrix<long double, Eigen::Dynamic, Eigen::Dynamic>;
                const Long exact_matrix = matrices[static_cast<std::size_t>(r)].cast<long double>();
                const auto exact = Eigen::JacobiSVD<Long>(exact_matrix).singularValues().eval();
                for (Index i = 0; i < n; ++i) {
                    const auto error = static_cast<double>(std::abs(
                        static_cast<long double>(values[static_cast<std::size_t>(i)]) - exact[i]));
                    worst = std::max(worst,
                                     exact[0] > 0 ? error / static_cast<double>(exact[0]) : error);
                }
            }
        }
    }
    CHECK_MESSAGE(worst < 1e-13, "worst error relative to the largest value: " +
                                     std::to_string(worst * 1e16) + "e-16");
}

TEST(block_diagonal_matrices_split) {
    // Blocks whose least value is not in the last one: the shift must stay inside a block.
    Matrix a = Matrix::Zero(9, 9);
    for (Index k = 0; k < 9; k += 3) {
        Matrix block = gaussian(3, 3);
        block *= k == 0 ? 1e-3 : 1;
        a.block(k, k, 3, 3) = block;
    }
    SingularValues<double> solver(9, 9);
    const Values values = sorted(solver, {a}, 0);
    const Eigen::VectorXd exact = Eigen::JacobiSVD<Matrix>(a).singularValues();
    for (Index i = 0; i < 9; ++i)
        CHECK(std::abs(values[static_cast<std::size_t>(i)] - exact[i]) < 1e-14 * exact[0]);
}

TEST(a_matrix_that_is_not_finite_gives_nan_and_leaves_its_neighbours_alone) {
    for (const double bad :
         {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
        std::vector<Matrix> matrices;
        for (int r = 0; r < lanes; ++r) matrices.push_back(gaussian(6, 4));
        SingularValues<V> solver(6, 4);
        const Values before = sorted(solver, matrices, lanes - 1);
        matrices[0](2, 3) = bad;
        CHECK(sorted(solver, matrices, lanes - 1) == before);
        for (const double value : sorted(solver, matrices, 0)) CHECK(std::isnan(value));
    }
}
