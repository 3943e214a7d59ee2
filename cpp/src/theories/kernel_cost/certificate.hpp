// Lower bounds of convolutional costs, where kernels do not show how good they are.
#pragma once

#include <Eigen/Cholesky>
#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/parallel.hpp"
#include "theories/kernel_cost/objective.hpp"

namespace linnet {

namespace kernel {

/// Lower bounds of F for where the kernels do not show how good they are: zeros of p at or between
/// the frequencies make F flat to higher order in the kernels, or need more digits than these have.
///
/// F is convex in the coefficients r of p = r_0 + 2 sum_t r_t cos(t w). These are sums along the
/// diagonals of positive semidefinite matrices, whose trace r_0 has the price m (r_0 - 1) here, in
/// place of m log r_0: same minimum, but convex.
class Certificate {
public:
    explicit Certificate(Objective& objective) : f_(objective) {
        for (Vector* v : {&point_, &trial_, &move_, &residual_}) v->resize(f_.size);
        whole_.resize(f_.size, f_.size);
        root_.resize(f_.size, f_.size);
        curved_.resize(f_.size, f_.size);
        eigen_.reserve(f_.n_groups);
        for (std::size_t g = 0; g < f_.n_groups; ++g) {
            largest_ = std::max(largest_, f_.taps(g));
            for (auto* list : {&inverse_root_, &turned_, &product_})
                list->emplace_back(f_.taps(g), f_.taps(g));
            for (auto* list : {&power_, &change_}) list->emplace_back(f_.weights.size());
            eigen_.emplace_back(f_.taps(g));
            ranks_.push_back(0);
        }
        face_.resize(f_.size, f_.size);
        columns_.resize(largest_ * (largest_ + 1) / 2, largest_);
        spectrum_.resize(f_.weights.size());
    }

    /// A lower bound of F from scratch, `good_gap` below `upper` or nearer if that can be had.
    ///
    /// A barrier: r are those of mu S^-1, S a Toeplitz matrix, which is the dual variable and tends
    /// to I - T, T that of a bound. Newton's method for a mu, then for a smaller one; the gap is
    /// about mu times the taps.
    double bound(double upper, Pulse& stop) {
        double best = -infinity;
        const double last = 1e-12 / static_cast<double>(largest_);
        int n_worse = 0;
        mu_ = 1;
        // p = 1
        point_.setZero();
        for (std::size_t g = 0; g < f_.n_groups; ++g)
            point_[f_.first[g]] = f_.multiplicity(g) * mu_ * static_cast<double>(f_.taps(g));
        for (; mu_ >= last && !stop(); mu_ *= 0.1, point_ *= 0.1) {
            if (!minimise(stop)) break;
            evaluate(point_);
            const double found = f_.bound(value_);
            // Twice no better: rounding is larger than mu.
            n_worse = found > best ? 0 : n_worse + 1;
            if (n_worse == 2) break;
            if (n_worse == 1) continue;
            best = found;
            if (upper - best <= good_gap * f_.n_layers) return best;
            for (std::size_t g = 0; g < f_.n_groups; ++g)
                power_[g].head(f_.n) = f_.power[g].head(f_.n);
        }
        for (std::size_t g = 0; g < f_.n_groups; ++g) f_.power[g].head(f_.n) = power_[g].head(f_.n);
        return std::max(best, refine(upper));
    }

    /// The best lower bound of F near the powers it finds, which must be nearly optimal.
    ///
    /// Newton's method in the r, in which F is not flat. The eigenvalues of the Toeplitz matrices
    /// of a bound are 1 at the minimum in the range of the matrices behind r, and less elsewhere:
    /// the r keep to matrices in the range of those near 1. How near cannot be told, so several
    /// guesses are tried.
    double refine(double upper) {
        double best = -infinity;
        for (std::size_t g = 0; g < f_.n_groups; ++g) {
            power_[g].head(f_.n) = f_.power[g].head(f_.n);
            ranks_[g] = 0;
        }
        for (double below = 0.1; below > 1e-8; below /= 10) {
            for (std::size_t g = 0; g < f_.n_groups; ++g)
                f_.power[g].head(f_.n) = power_[g].head(f_.n);
            best = std::max(best, f_.bound(f_.value()));
            if (!set_face(below)) continue;
            for (int step = 0; step < 8 && !(upper - best <= good_gap * f_.n_layers); ++step) {
                if (!move_powers()) break;
                best = std::max(best, f_.bound(f_.value()));
            }
        }
        return best;
    }

private:
    /// face_ <- in a column each, the r of matrices in the range of the eigenvalues above 1 -
    /// below. False if that is the range that was taken before.
    bool set_face(double below) {
        bool is_new = false;
        for (std::size_t g = 0; g < f_.n_groups; ++g) {
            eigen_[g].compute(f_.toeplitz[g]);
            const auto& values = eigen_[g].eigenvalues();
            Index rank = 1;
            while (rank < f_.taps(g) && values[f_.taps(g) - 1 - rank] > 1 - below) ++rank;
            is_new = is_new || rank != ranks_[g];
            ranks_[g] = rank;
        }
        if (!is_new) return false;
        face_.setZero();
        dimension_ = 0;
        for (std::size_t g = 0; g < f_.n_groups; ++g) {
            const Index n = f_.taps(g);
            const Index rank = ranks_[g];
            auto rows = face_.middleRows(f_.first[g], n);
            if (rank == n) {
                rows.middleCols(dimension_, n).setIdentity();
                dimension_ += n;
                continue;
            }
            set_columns(g, eigen_[g].eigenvectors().rightCols(rank).transpose());
            const auto columns = columns_.topLeftCorner(rank * (rank + 1) / 2, n);
            product_[g] = columns.transpose().lazyProduct(columns);
            eigen_[g].compute(product_[g]);
            const auto& values = eigen_[g].eigenvalues();
            for (Index i = n - 1; i >= 0 && values[i] > 1e-10 * values[n - 1]; --i)
                rows.col(dimension_++) = eigen_[g].eigenvectors().col(i);
        }
        return true;
    }

    /// A step in the face, which must leave the powers positive; false if there is none.
    bool move_powers() {
        differentiate();
        const auto face = face_.leftCols(dimension_);
        auto turned = curved_.leftCols(dimension_);
        auto reduced = root_.topLeftCorner(dimension_, dimension_);
        whole_ = f_.hessian.selfadjointView<Eigen::Lower>();
        turned = whole_.lazyProduct(face);
        for (double jitter = 1e-15;; jitter *= 10) {
            if (!(jitter < 1e-8)) return false;
            reduced = face.transpose().lazyProduct(turned);
            reduced.diagonal() *= 1 + jitter;
            const Eigen::LLT<Eigen::Ref<Matrix>> factors(reduced);
            if (factors.info() != Eigen::Success) continue;
            auto along = trial_.head(dimension_);
            along.noalias() = face.transpose() * f_.gradient;
            factors.solveInPlace(along);
            move_.noalias() = face * along;
            break;
        }
        double length = 1;
        for (std::size_t g = 0; g < f_.n_groups; ++g) {
            auto change = change_[g].head(f_.n);
            change.noalias() = f_.cosine(g) * move_.segment(f_.first[g], f_.taps(g));
            change = 2 * change.array() - move_[f_.first[g]];
            const double most = change.cwiseQuotient(f_.power[g].head(f_.n)).maxCoeff();
            if (!std::isfinite(most)) return false;
            length = std::min(length, 0.9 / std::max(most, 0.9));
        }
        for (std::size_t g = 0; g < f_.n_groups; ++g)
            f_.power[g].head(f_.n) -= length * change_[g].head(f_.n);
        return true;
    }

    /// Derivatives of F in the r, with m (r_0 - 1) for the norms.
    void differentiate() {
        for (std::size_t g = 0; g < f_.n_groups; ++g) {
            auto v = f_.slopes[g].topRows(f_.n);
            v = f_.cosine(g).array().colwise() / f_.power[g].head(f_.n).array();
            v.rightCols(f_.taps(g) - 1) *= 2;
        }
        f_.differentiate();
        for (std::size_t g = 0; g < f_.n_groups; ++g)
            f_.gradient[f_.first[g]] += f_.multiplicity(g);
    }

    double weight(std::size_t g) const { return mu_ * f_.multiplicity(g); }

    /// F with the barrier at S; infinity unless they are positive definite.
    double evaluate(const Vector& s) {
        double total = 0;
        for (std::size_t g = 0; g < f_.n_groups; ++g) {
            const Index n = f_.taps(g);
            Matrix& below = product_[g];
            below.diagonal().setConstant(s[f_.first[g]]);
            for (Index t = 1; t < n; ++t) below.diagonal(-t).setConstant(s[f_.first[g] + t] / 2);
            const Eigen::LLT<Eigen::Ref<Matrix>> factors(below);
            if (factors.info() != Eigen::Success) return infinity;
            Matrix& inverse = inverse_root_[g];
            inverse.setIdentity();
            below.triangularView<Eigen::Lower>().solveInPlace(inverse);
            auto p = f_.power[g].head(f_.n).array();
            p.setZero();
            for (Index t = 0; t < n; ++t) {
                auto part = spectrum_.head(f_.n);
                part.noalias() = f_.cosine(g) * inverse.row(t).transpose();
                p += part.array().square();
                part.noalias() = f_.sine(g) * inverse.row(t).transpose();
                p += part.array().square();
            }
            p *= weight(g);
            total += f_.multiplicity(g) * (weight(g) * inverse.squaredNorm() - 1);
            total += weight(g) * 2 * below.diagonal().array().log().sum();
        }
        value_ = f_.value();
        return total + value_;
    }

    /// residual_ <- how far S is from the gradient of F in the r; move_ <- Newton's. Returns the
    /// slope along it, which is NaN if there is none. F has just been evaluated at the point.
    double aim() {
        differentiate();
        residual_ = f_.gradient - point_;
        root_.setZero();
        for (std::size_t g = 0; g < f_.n_groups; ++g) set_root(g);
        whole_ = f_.hessian.selfadjointView<Eigen::Lower>();
        curved_ = whole_.lazyProduct(root_);
        whole_ = root_.transpose().lazyProduct(curved_);
        whole_.diagonal().array() += 1;
        const Eigen::LLT<Eigen::Ref<Matrix>> factors(whole_);
        if (factors.info() != Eigen::Success) return std::numeric_limits<double>::quiet_NaN();
        move_.noalias() = root_.transpose() * residual_;
        trial_ = move_;
        factors.solveInPlace(move_);
        const double slope = move_.dot(trial_);
        root_.transpose().triangularView<Eigen::Upper>().solveInPlace(move_);
        return slope;
    }

    /// columns_ <- the entries of A E_t A^T in one half, for all taps t of a group, where r_t is
    /// the product of E_t with a matrix. Columns have the products that the matrices have.
    template <class A>
    void set_columns(std::size_t g, const A& outer) {
        const Index n = f_.taps(g);
        const Index k = outer.rows();
        auto turned = turned_[g].topRows(k);
        auto product = product_[g].topLeftCorner(k, k);
        for (Index t = 0; t < n; ++t) {
            turned.setZero();
            turned.leftCols(n - t) = 0.5 * outer.rightCols(n - t);
            turned.rightCols(n - t) += 0.5 * outer.leftCols(n - t);
            product = turned.lazyProduct(outer.transpose());
            for (Index i = 0, e = 0; i < k; e += k - i, ++i) {
                columns_.col(t).segment(e, k - i) = product.col(i).tail(k - i);
                columns_.col(t).segment(e + 1, k - i - 1) *= std::sqrt(2.0);
            }
        }
    }

    /// A block of root_, the lower Cholesky factor of -d r / d S, by Gram and Schmidt from the
    /// factor S^-1 has: the matrix itself is not formed, for it would have twice as many orders of
    /// magnitude.
    void set_root(std::size_t g) {
        const Index n = f_.taps(g);
        auto columns = columns_.topLeftCorner(n * (n + 1) / 2, n);
        set_columns(g, inverse_root_[g]);
        columns *= std::sqrt(weight(g));
        for (Index t = 0; t < n; ++t) {
            auto column = columns.col(t);
            const double norm = column.norm();
            column /= norm;
            root_(f_.first[g] + t, f_.first[g] + t) = norm;
            for (Index k = t + 1; k < n; ++k) {
                const double along = column.dot(columns.col(k));
                root_(f_.first[g] + k, f_.first[g] + t) = along;
                columns.col(k) -= along * column;
            }
        }
    }

    /// To the minimum for this mu, nearly; false if Newton's method fails.
    bool minimise(Pulse& stop) {
        double value = evaluate(point_);
        if (!std::isfinite(value)) return false;
        double last = infinity;
        for (int iteration = 0; iteration < 40 && !stop(); ++iteration) {
            const double slope = aim();
            if (!(slope >= 0)) return false;
            // Where F is too flat for its values to tell, the slope does.
            const bool is_flat = slope <= 1e-11 * f_.n_layers;
            if (slope <= 1e-2 * mu_ || (is_flat && slope > 0.9 * last)) return true;
            last = slope;
            double length = 1;
            for (;; length /= 2) {
                if (length < 1e-9) return true;
                trial_ = point_ + length * move_;
                const double next = evaluate(trial_);
                if (next <= value - 1e-4 * length * slope || (is_flat && std::isfinite(next))) {
                    value = next;
                    break;
                }
            }
            point_.swap(trial_);
        }
        return true;
    }

    Objective& f_;
    Index largest_ = 0;  ///< taps
    double mu_ = 1, value_ = 0;
    Vector point_, trial_, move_, residual_, spectrum_;
    std::vector<Matrix> inverse_root_, turned_, product_;
    std::vector<Eigen::SelfAdjointEigenSolver<Matrix>> eigen_;
    std::vector<Vector> power_, change_;
    std::vector<Index> ranks_;
    Index dimension_ = 0;  ///< of the face
    Matrix whole_, root_, curved_, columns_, face_;
};

}  // namespace kernel

}  // namespace linnet
