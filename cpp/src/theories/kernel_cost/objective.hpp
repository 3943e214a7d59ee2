// The function that convolutional costs minimise, of the powers of kernels at the frequencies.
#pragma once

#include <Eigen/Core>
#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "linnet/kernel_cost.hpp"

namespace linnet {

namespace kernel {

using Matrix = Eigen::MatrixXd;
using Vector = Eigen::VectorXd;
using View = Eigen::Map<const Matrix, 0, Eigen::OuterStride<>>;

inline constexpr double infinity = std::numeric_limits<double>::infinity();
/// In F over the number of layers: then the search is over.
inline constexpr double good_gap = 1e-11;

/// cos and sin of t * dilation * 2 pi f / extent, (frequency, tap), reduced before they are
/// multiplied by pi.
struct Table {
    Matrix cosine, sine;
    Table(Index extent, Index n_frequencies, Index taps, Index dilation)
        : cosine(n_frequencies, taps),
          sine(n_frequencies, taps) {
        for (Index f = 0; f < n_frequencies; ++f) {
            for (Index t = 0; t < taps; ++t) {
                const Index turn =
                    (((t % extent) * (dilation % extent)) % extent) * (f % extent) % extent;
                const double angle = 2 * 3.14159265358979323846 * static_cast<double>(turn) /
                                     static_cast<double>(extent);
                cosine(f, t) = std::cos(angle);
                sine(f, t) = 2 * turn == extent ? 0.0 : std::sin(angle);
            }
        }
    }
};

/// F of one problem as a function of the powers p at the frequencies where c > 0, and what follows
/// from it alone.
class Objective {
public:
    std::size_t n_groups;
    Index n = 0;     ///< active frequencies
    Index size = 0;  ///< taps of all groups
    double n_layers = 1;
    std::vector<Index> first;      ///< of a group's taps among all
    std::vector<Vector> power;     ///< per group
    std::vector<Vector> tau;       ///< per group
    std::vector<Matrix> slopes;    ///< per group, (frequency, tap)
    std::vector<Matrix> toeplitz;  ///< per group, the lower half of the last bound's
    Vector weights, gradient;
    Matrix hessian;

    Objective(const KernelProblem& problem, const std::vector<Table>& tables)
        : n_groups(problem.taps.size()),
          problem_(problem),
          tables_(tables),
          own_(tables) {
        eigenvalues_.reserve(n_groups);  // no copies, which would read members that are not set yet
        for (std::size_t g = 0; g < n_groups; ++g) {
            first.push_back(size);
            size += taps(g);
            n_layers += multiplicity(g);
            power.emplace_back(problem.n_frequencies);
            slopes.emplace_back(problem.n_frequencies, taps(g));
            tau.emplace_back(taps(g));
            toeplitz.emplace_back(taps(g), taps(g));
            eigenvalues_.emplace_back(taps(g));
        }
        active_.reserve(static_cast<std::size_t>(problem.n_frequencies));
        for (Vector* v : {&log_c_, &weights, &spare_}) v->resize(problem.n_frequencies);
        gradient.resize(size);
        hessian.resize(size, size);
    }

    /// Take problem number `which`; c is divided by its largest entry, whose logarithm is returned.
    double load(Index which) {
        const double* const c = problem_.spectra + which * problem_.n_frequencies;
        const double largest = *std::max_element(c, c + problem_.n_frequencies);
        active_.clear();
        for (Index f = 0; f < problem_.n_frequencies; ++f) {
            if (!(c[f] > 0)) continue;
            log_c_[static_cast<Index>(active_.size())] = std::log(c[f]) - std::log(largest);
            active_.push_back(f);
        }
        n = static_cast<Index>(active_.size());
        for (std::size_t g = 0; g < n_groups && n < problem_.n_frequencies; ++g) {
            for (Index k = 0; k < n; ++k) {
                const Index f = active_[static_cast<std::size_t>(k)];
                own_[g].cosine.row(k) = tables_[g].cosine.row(f);
                own_[g].sine.row(k) = tables_[g].sine.row(f);
            }
        }
        return std::log(largest);
    }

    Index taps(std::size_t g) const { return problem_.taps[g]; }
    double multiplicity(std::size_t g) const { return problem_.multiplicities[g]; }
    View cosine(std::size_t g) const { return view(table(g).cosine); }
    View sine(std::size_t g) const { return view(table(g).sine); }

    /// F without the norms from `power`, with `weights`, the shares of the frequencies in its sum.
    double value() {
        auto w = weights.head(n).array();
        w = log_c_.head(n).array();
        for (std::size_t g = 0; g < n_groups; ++g) {
            const auto p = power[g].head(n).array();
            if (!(p.minCoeff() > 0)) return infinity;
            w -= multiplicity(g) * p.log();
        }
        const double top = w.maxCoeff();
        w = (w - top).exp();
        const double total = w.sum();
        w /= total;
        return top + std::log(total);
    }

    /// Gradient of F without the norms, and the part of the Hessian's lower half that comes from
    /// products of `slopes`, the derivatives of log p, which are multiplied by the roots of the
    /// weights.
    void differentiate() {
        spare_.head(n) = weights.head(n).cwiseSqrt();
        for (std::size_t g = 0; g < n_groups; ++g) {
            auto v = slopes[g].topRows(n);
            const double m = multiplicity(g);
            for (Index i = 0; i < taps(g); ++i) {
                v.col(i).array() *= spare_.head(n).array();
                gradient[first[g] + i] = -m * v.col(i).dot(spare_.head(n));
            }
            for (std::size_t h = 0; h <= g; ++h) {
                const double factor = m * multiplicity(h) + (g == h ? m : 0.0);
                const auto other = slopes[h].topRows(n);
                for (Index j = 0; j < taps(h); ++j) {
                    for (Index i = g == h ? j : 0; i < taps(g); ++i) {
                        const double sum = v.col(i).dot(other.col(j));
                        hessian(first[g] + i, first[h] + j) =
                            factor * sum - gradient[first[g] + i] * gradient[first[h] + j];
                    }
                }
            }
        }
    }

    /// tau of a group: sums of cosines with the weights over p.
    void set_tau(std::size_t g) {
        spare_.head(n) = weights.head(n).cwiseQuotient(power[g].head(n));
        tau[g].noalias() = cosine(g).transpose() * spare_.head(n);
    }

    /// A lower bound of the minimum, by convexity in the p where `value` is F without the norms:
    /// their set is bounded by the largest eigenvalues of Toeplitz matrices.
    double bound(double value) {
        if (!std::isfinite(value)) return -infinity;
        for (std::size_t g = 0; g < n_groups; ++g) {
            set_tau(g);
            for (Index i = 0; i < taps(g); ++i) toeplitz[g].diagonal(-i).setConstant(tau[g][i]);
            eigenvalues_[g].compute(toeplitz[g], Eigen::EigenvaluesOnly);
            value -= multiplicity(g) * std::log(eigenvalues_[g].eigenvalues()[taps(g) - 1]);
        }
        // Rounding of eigenvalues and sums, generously.
        return value - 1e-14 * n_layers * static_cast<double>(size);
    }

private:
    const KernelProblem& problem_;
    const std::vector<Table>& tables_;
    std::vector<Table> own_;  ///< the rows of active frequencies, where not all are

    const Table& table(std::size_t g) const {
        return n < problem_.n_frequencies ? own_[g] : tables_[g];
    }
    View view(const Matrix& all) const {
        return {all.data(), n, all.cols(), Eigen::OuterStride<>(all.rows())};
    }

    std::vector<Index> active_;
    Vector log_c_, spare_;
    std::vector<Eigen::SelfAdjointEigenSolver<Matrix>> eigenvalues_;
};

}  // namespace kernel

}  // namespace linnet
