#include "linnet/kernel_cost.hpp"

#include <Eigen/Cholesky>
#include <Eigen/Eigenvalues>
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <optional>
#include <random>

#include "parallel.hpp"

namespace linnet {

namespace {

using Matrix = Eigen::MatrixXd;
using Vector = Eigen::VectorXd;
using View = Eigen::Map<const Matrix, 0, Eigen::OuterStride<>>;

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr int max_iterations = 1000;
constexpr int max_starts = 24;
constexpr double good_gap = 1e-11;  ///< in F over the number of layers: then the search is over
constexpr Index most_taps = 160;    ///< for which the barrier's matrices are worth their time

/// cos and sin of t * dilation * 2 pi f / extent, (frequency, tap), reduced before they are multiplied by pi.
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

/// F of one problem as a function of the powers p at the frequencies where c > 0, and what follows from it alone.
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

    /// Gradient of F without the norms, and the part of the Hessian's lower half that comes from products of `slopes`,
    /// the derivatives of log p, which are multiplied by the roots of the weights.
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

    /// A lower bound of the minimum, by convexity in the p where `value` is F without the norms: their set is bounded
    /// by the largest eigenvalues of Toeplitz matrices.
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

/// Minimises F over kernels, which are unit vectors.
class Descent {
public:
    explicit Descent(Objective& objective) : f_(objective) {
        for (Vector* v : {&point, &trial_, &move_}) v->resize(f_.size);
        for (std::size_t g = 0; g < f_.n_groups; ++g) {
            real_.emplace_back(f_.weights.size());
            imaginary_.emplace_back(f_.weights.size());
        }
        shifted_.resize(f_.size, f_.size);
    }

    Vector point;

    auto group(Vector& v, std::size_t g) const { return v.segment(f_.first[g], f_.taps(g)); }

    /// The first starts lean towards one tap, later ones are anywhere.
    void begin(int start, std::mt19937_64& generator, std::normal_distribution<double>& normal) {
        for (std::size_t g = 0; g < f_.n_groups; ++g) {
            auto u = group(point, g);
            for (Index t = 0; t < f_.taps(g); ++t) {
                const double noise = normal(generator);
                const double decay = std::pow(0.5, static_cast<double>(t));
                u[t] = start == 0   ? (t == 0 ? 1.0 : 0.2 * decay * noise)
                       : start == 1 ? decay * (t % 2 == 0 ? 1.0 : -1.0) + 0.1 * noise
                                    : noise;
            }
            u.normalize();
        }
    }

    /// Newton's method from the point, damped; returns F where it ends.
    double minimise(Pulse& stop) {
        double value = evaluate(point);
        if (!std::isfinite(value)) return value;
        shift_ = 0;
        double last = infinity;
        for (int iteration = 0; iteration < max_iterations && !stop(); ++iteration) {
            differentiate();
            const double slope = aim();
            // Where F is too flat for its values to tell, the slope does.
            const bool is_flat = slope <= 1e-13 * (f_.n_layers + std::abs(value));
            if (!(slope >= 0) || (is_flat && slope > 0.9 * last)) break;
            const double next = is_flat ? go(1) : search(value, slope);
            if (!std::isfinite(next)) break;
            value = next;
            last = slope;
            if (slope <= 1e-20 * f_.n_layers) return value;
        }
        return evaluate(point);
    }

private:
    double evaluate(Vector& u) {
        for (std::size_t g = 0; g < f_.n_groups; ++g) {
            auto a = real_[g].head(f_.n);
            auto b = imaginary_[g].head(f_.n);
            a.noalias() = f_.cosine(g) * group(u, g);
            b.noalias() = f_.sine(g) * group(u, g);
            f_.power[g].head(f_.n) = a.cwiseAbs2() + b.cwiseAbs2();
        }
        return f_.value();
    }

    /// Gradient and Hessian of F at the point, where F has just been evaluated. F does not change along the kernels
    /// themselves; the Hessian is made definite there.
    void differentiate() {
        for (std::size_t g = 0; g < f_.n_groups; ++g) {
            auto v = f_.slopes[g].topRows(f_.n);
            // In place, for an expression would be put into memory of its own.
            auto a = real_[g].head(f_.n).array();
            auto b = imaginary_[g].head(f_.n).array();
            a /= f_.power[g].head(f_.n).array() / 2;
            b /= f_.power[g].head(f_.n).array() / 2;
            v = f_.cosine(g).array().colwise() * a;
            v.array() += f_.sine(g).array().colwise() * b;
        }
        f_.differentiate();
        for (std::size_t g = 0; g < f_.n_groups; ++g) {
            const double m = f_.multiplicity(g);
            const auto u = group(point, g);
            const Index n = f_.taps(g);
            f_.set_tau(g);
            auto block = f_.hessian.block(f_.first[g], f_.first[g], n, n);
            for (Index i = 0; i < n; ++i) {
                for (Index j = 0; j <= i; ++j)
                    block(i, j) -= m * (2 * f_.tau[g][i - j] + 3 * u[i] * u[j]);
                block(i, i) += 2 * m;
            }
            group(f_.gradient, g) += 2 * m * u;
        }
    }

    /// move_ <- Newton's, with as much of the identity as makes the Hessian positive definite. Returns the slope along
    /// it, NaN if there is none.
    double aim() {
        const double scale = std::max(f_.hessian.diagonal().cwiseAbs().maxCoeff(), 1e-300);
        for (; shift_ <= 1e6; shift_ = std::max(4 * shift_, 1e-9)) {
            shifted_ = f_.hessian;
            shifted_.diagonal().array() += shift_ * scale;
            const Eigen::LLT<Eigen::Ref<Matrix>> factors(shifted_);
            if (factors.info() != Eigen::Success) continue;
            move_ = f_.gradient;
            factors.solveInPlace(move_);
            return move_.dot(f_.gradient);
        }
        return std::numeric_limits<double>::quiet_NaN();
    }

    /// Go against move_ by a length and return F there.
    double go(double length) {
        trial_ = point - length * move_;
        for (std::size_t g = 0; g < f_.n_groups; ++g) group(trial_, g).normalize();
        const double next = evaluate(trial_);
        if (std::isfinite(next)) {
            trial_.swap(point);
            if (length == 1) shift_ = shift_ < 1e-11 ? 0 : shift_ / 10;
        }
        return next;
    }

    /// The same by the first length of 1, 1/2, 1/4 ... that lowers F well; infinity if there is none.
    double search(double value, double slope) {
        // No step longer than the kernels.
        double length = 1 / std::max(1.0, 2 * move_.norm());
        for (int halving = 0; halving < 40; ++halving, length /= 2) {
            const double next = go(length);
            if (!std::isfinite(next)) continue;
            if (next <= value - 1e-4 * length * slope) return next;
            trial_.swap(point);
        }
        return infinity;
    }

    Objective& f_;
    double shift_ = 0;
    Vector trial_, move_;
    std::vector<Vector> real_, imaginary_;
    Matrix shifted_;
};

/// Lower bounds of F for where the kernels do not show how good they are: zeros of p at or between the frequencies
/// make F flat to higher order in the kernels, or need more digits than these have.
///
/// F is convex in the coefficients r of p = r_0 + 2 sum_t r_t cos(t w). These are sums along the diagonals of positive
/// semidefinite matrices, whose trace r_0 has the price m (r_0 - 1) here, in place of m log r_0: same minimum, but convex.
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
    /// A barrier: r are those of mu S^-1, S a Toeplitz matrix, which is the dual variable and tends to I - T, T that of a
    /// bound. Newton's method for a mu, then for a smaller one; the gap is about mu times the taps.
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
    /// Newton's method in the r, in which F is not flat. The eigenvalues of the Toeplitz matrices of a bound are 1 at
    /// the minimum in the range of the matrices behind r, and less elsewhere: the r keep to matrices in the range of
    /// those near 1. How near cannot be told, so several guesses are tried.
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
    /// face_ <- in a column each, the r of matrices in the range of the eigenvalues above 1 - below. False if that is
    /// the range that was taken before.
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

    /// residual_ <- how far S is from the gradient of F in the r; move_ <- Newton's. Returns the slope along it, which
    /// is NaN if there is none. F has just been evaluated at the point.
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

    /// columns_ <- the entries of A E_t A^T in one half, for all taps t of a group, where r_t is the product of E_t with
    /// a matrix. Columns have the products that the matrices have.
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

    /// A block of root_, the lower Cholesky factor of -d r / d S, by Gram and Schmidt from the factor S^-1 has: the
    /// matrix itself is not formed, for it would have twice as many orders of magnitude.
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

/// A problem at a time, with room for all it needs.
class Solver {
public:
    Solver(const KernelProblem& problem, const std::vector<Table>& tables)
        : objective_(problem, tables),
          descent_(objective_),
          best_(Vector::Zero(objective_.size)) {
        if (objective_.size <= most_taps) certificate_.emplace(objective_);
    }

    void solve(Index which, const KernelResults& results, Pulse& stop) {
        const double scale = objective_.load(which);
        const double good = good_gap * objective_.n_layers;
        double upper = infinity;
        double lower = -infinity;
        std::mt19937_64 generator(12345);
        std::normal_distribution<double> normal;
        for (int start = 0; start < max_starts && !(upper - lower <= good) && !stop(); ++start) {
            descent_.begin(start, generator, normal);
            const double value = descent_.minimise(stop);
            if (!std::isfinite(value)) continue;
            lower = std::max(lower, objective_.bound(value));
            if (value < upper) {
                upper = value;
                best_ = descent_.point;
            }
            if (!certificate_ || upper - lower <= good) continue;
            lower = std::max(lower, certificate_->refine(upper));
            // Once, and not at once: it costs more than another start.
            if (start == 1 && upper - lower > good)
                lower = std::max(lower, certificate_->bound(upper, stop));
        }
        results.upper[which] = upper + scale;
        results.lower[which] = std::min(lower, upper) + scale;
        std::copy_n(best_.data(), best_.size(), results.kernels + which * best_.size());
    }

private:
    Objective objective_;
    Descent descent_;
    std::optional<Certificate> certificate_;
    Vector best_;
};

}  // namespace

bool kernel_cost(const KernelProblem& problem, const KernelResults& results,
                 const Control& control) {
    std::vector<Table> tables;
    for (std::size_t g = 0; g < problem.taps.size(); ++g) {
        tables.emplace_back(problem.extent, problem.n_frequencies, problem.taps[g],
                            problem.dilations[g]);
    }
    const auto n_workers =
        static_cast<int>(std::min<Index>(std::max(control.n_threads, 1), problem.n_problems));
    if (n_workers == 0) return true;
    Progress progress;
    std::atomic<Index> next{0};
    run_workers(n_workers, progress, control.poll, [&](int /*worker*/, Pulse& pulse) {
        Solver solver(problem, tables);
        while (true) {
            const Index which = next.fetch_add(1, std::memory_order_relaxed);
            if (which >= problem.n_problems || pulse()) return;
            solver.solve(which, results, pulse);
        }
    });
    return !progress.stop.load();
}

}  // namespace linnet
