// Lanczos' method against Eigen's eigenvalues: every kind of spectrum, lanes against plain numbers bit
// for bit, nothing allocated on the way.
#include "observables/lanczos.hpp"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "check.hpp"

using namespace linnet;

namespace {

using Matrix = Eigen::MatrixXd;
constexpr int lanes = native_lanes<double>;
using V = Pack<double, lanes>;

Matrix symmetric(Index n, int kind, unsigned seed) {
    std::mt19937 generator(seed);
    std::normal_distribution<double> normal;
    const Matrix start = Matrix::NullaryExpr(n, n, [&] { return normal(generator); });
    const Matrix turn = Eigen::HouseholderQR<Matrix>(start).householderQ();
    Eigen::VectorXd values(n);
    for (Index i = 0; i < n; ++i) {
        const auto x = static_cast<double>(i);
        values[i] = kind == 0   ? normal(generator)         // generic
                    : kind == 1 ? (i < n / 3 ? 2.0 : -1.0)  // multiple
                    : kind == 2 ? 1 + 1e-6 * x              // crowded
                    : kind == 3 ? std::pow(10.0, -0.2 * x)  // graded
                    : kind == 4 ? -1 - x                    // negative
                    : kind == 5 ? (i == 0 ? 1e-3 : -100.0)  // the largest is small
                                : 0;
    }
    return turn * values.asDiagonal() * turn.transpose();
}

/// Found for the matrices of all lanes at once, by the same products as plain numbers.
template <class T>
std::vector<T> found(const std::vector<Matrix>& of, Index count, bool both, long* allocated) {
    constexpr int n_lanes = PackTraits<T>::lanes;
    const Index n = of[0].rows();
    Lanczos<T> lanczos(n, count, both);
    bool is_there[n_lanes];
    for (bool& one : is_there) one = true;
    std::vector<T> to(static_cast<std::size_t>(lanczos.count()));
    const auto apply = [&](const T* from, T* result) {
        for (Index i = 0; i < n; ++i) {
            for (int lane = 0; lane < n_lanes; ++lane) {
                double sum = 0;
                for (Index j = 0; j < n; ++j)
                    sum = linnet::fma(of[static_cast<std::size_t>(lane)](i, j),
                                      get_lane(from[j], lane), sum);
                set_lane(result[i], lane, sum);
            }
        }
        return true;
    };
    const long before = tests::allocations();
    const bool is_done = lanczos.find(apply, is_there, to.data());
    *allocated = tests::allocations() - before;
    CHECK(is_done);
    return to;
}

}  // namespace

TEST(lanczos_finds_eigenvalues_of_every_kind) {
    for (const Index n : {1, 2, 7, 40, 190}) {
        for (int kind = 0; kind < 7; ++kind) {
            for (const Index count : {1, 3}) {
                for (const bool both : {false, true}) {
                    if (count > n || (n > 100 && (kind > 2 || both))) continue;
                    std::vector<Matrix> of;
                    for (int lane = 0; lane < lanes; ++lane)
                        of.push_back(
                            symmetric(n, (kind + lane) % 7, 17U * static_cast<unsigned>(n)));
                    long allocated = 0;
                    const std::vector<V> together = found<V>(of, count, both, &allocated);
                    CHECK(allocated == 0);
                    const std::vector<double> alone = found<double>(of, count, both, &allocated);
                    for (std::size_t i = 0; i < alone.size(); ++i)
                        CHECK(get_lane(together[i], 0) == alone[i]);
                    const Eigen::VectorXd exact =
                        Eigen::SelfAdjointEigenSolver<Matrix>(of[0]).eigenvalues();
                    const double scale = exact.cwiseAbs().maxCoeff();
                    for (Index i = 0; i < count; ++i) {
                        const double top = exact[n - 1 - i];
                        CHECK(std::fabs(alone[static_cast<std::size_t>(i)] - top) <=
                              1e-8 * std::fabs(top) + 1e-12 * scale);
                        if (!both) continue;
                        CHECK(std::fabs(alone[static_cast<std::size_t>(count + i)] - exact[i]) <=
                              1e-8 * std::fabs(exact[i]) + 1e-12 * scale);
                    }
                }
            }
        }
    }
}

// Of diagonal matrices, whose eigenvalues are there to see.
TEST(lanczos_keeps_its_vectors_orthogonal) {
    // Place n f of a spectrum of n values.
    double (*const kinds[])(double, double) = {
        [](double f, double) { return 1 - f * f; },                   // crowded at the top
        [](double f, double n) { return -1 - n * f; },                // negative
        [](double f, double n) { return std::pow(0.9, n * f) - 2; },  // crowded at the least
        // The other end is far away: the vectors stay orthogonal to it only if watched.
        [](double f, double n) { return n * f < 3 ? -1000 - n * f : -1e-3 * f; },
        [](double f, double) { return f == 0 ? 0.01 : -100 + 99.9 * f; },    // the largest is small
        [](double f, double n) { return n * f < 6 ? 10.0 : -f; },            // multiple
        [](double f, double) { return f == 0 ? 1e4 : std::cos(1000 * f); },  // one is by itself
        // Nearly multiple.
        [](double f, double n) { return n * f < 5   ? 3.0
                                        : n * f < 9 ? 2.9999
                                                    : std::cos(n * f); },
    };
    constexpr Index n_kinds = sizeof(kinds) / sizeof(kinds[0]);
    constexpr Index most = 300;
    std::vector<double> spectra(static_cast<std::size_t>(n_kinds * most));
    for (const Index n : {Index{60}, Index{190}, most}) {
        for (Index kind = 0; kind < n_kinds; ++kind) {
            double* const values = spectra.data() + kind * most;
            for (Index i = 0; i < n; ++i)
                values[i] = kinds[kind](static_cast<double>(i) / static_cast<double>(n),
                                        static_cast<double>(n));
            std::sort(values, values + n, [](double x, double y) { return x > y; });
        }
        for (const Index count : {1, 3}) {
            for (const bool both : {false, true}) {
                if (n == 190 && (count > 1 || both)) continue;  // one restart, in lanes
                if (n == most && (count > 1) != both) continue;
                Lanczos<V> lanczos(n, count, both);
                Lanczos<double> plain(n, count, both);
                std::vector<V> together(static_cast<std::size_t>(lanczos.count()));
                std::vector<double> alone(static_cast<std::size_t>(lanczos.count()));
                bool is_there[lanes];
                for (bool& one : is_there) one = true;
                const bool is_one[1] = {true};
                for (Index kind = 0; kind < n_kinds; ++kind) {
                    const double* const values = spectra.data() + kind * most;
                    CHECK(plain.find(
                        [&](const double* from, double* to) {
                            for (Index i = 0; i < n; ++i) to[i] = values[i] * from[i];
                            return true;
                        },
                        is_one, alone.data()));
                    if (kind % lanes == 0 && n < most)
                        CHECK(lanczos.find(
                            [&](const V* from, V* to) {
                                for (Index i = 0; i < n; ++i) {
                                    V factor;
                                    for (int lane = 0; lane < lanes; ++lane)
                                        set_lane(factor, lane,
                                                 spectra[static_cast<std::size_t>(
                                                     (kind + lane) % n_kinds * most + i)]);
                                    to[i] = factor * from[i];
                                }
                                return true;
                            },
                            is_there, together.data()));
                    const double scale = std::max(std::fabs(values[0]), std::fabs(values[n - 1]));
                    for (Index i = 0; i < lanczos.count(); ++i) {
                        const double found = alone[static_cast<std::size_t>(i)];
                        const double exact = values[i < count ? i : n - 1 - (i - count)];
                        CHECK(std::fabs(found - exact) <= 1e-8 * std::fabs(exact) + 1e-12 * scale);
                        if (n == most) continue;
                        CHECK(found == get_lane(together[static_cast<std::size_t>(i)],
                                                static_cast<int>(kind % lanes)));
                    }
                }
            }
        }
    }
}

TEST(lanczos_of_what_is_not_finite_is_not_a_number) {
    Lanczos<double> lanczos(5, 2, false);
    const bool is_there[1] = {true};
    double to[2] = {1, 1};
    const auto apply = [](const double* from, double* result) {
        for (int i = 0; i < 5; ++i) result[i] = from[i] * 1e308 * 1e10;
        return true;
    };
    CHECK(lanczos.find(apply, is_there, to));
    CHECK(std::isnan(to[0]) && std::isnan(to[1]));
    for (const double size : {std::numeric_limits<double>::infinity(), std::nan("")}) {
        for (const Index count : {1, 2}) {
            Lanczos<double> other(5, count, false);
            const auto apply_size = [&](const double*, double* result) {
                std::fill_n(result, 5, size);
                return true;
            };
            CHECK(other.find(apply_size, is_there, to));
            CHECK(std::isnan(to[0]));
        }
    }
    CHECK(!lanczos.find([](const double*, double*) { return false; }, is_there, to));
}
