#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/tasks.hpp"
#include "linnet/reduction.hpp"

namespace linnet {

namespace {

using Columns = Eigen::MatrixXd;
using Vector = Eigen::VectorXd;
using Rows = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using ConstRows = Eigen::Map<const Rows>;

constexpr Index panel = 256;  // rows of weights whose absolute values are kept at once

/// An orthonormal basis that grows.
class Basis {
public:
    Basis(Index n, Index most) : q_(n, most), sizes_(n, most), rank_(0) {}

    Index rank() const { return rank_; }
    Index most() const { return q_.cols(); }
    bool is_whole() const { return rank_ == q_.rows(); }
    auto columns(Index first, Index count) const { return q_.middleCols(first, count); }
    void set(const Columns& q) {
        q_.leftCols(q.cols()) = q;
        sizes_.leftCols(q.cols()) = q.cwiseAbs();
        rank_ = q.cols();
    }

    /// Let the basis span `a`, too, the result of sums of n_terms terms whose absolute values sum to
    /// `sizes`: what is left of it outside may be their rounding. False if there is no more room.
    bool span(Vector a, Vector sizes, Index n_terms) {
        const double largest = a.cwiseAbs().maxCoeff();
        if (largest == 0) return true;
        const double scale = std::ldexp(1.0, -std::ilogb(largest));
        a *= scale;
        sizes *= scale;
        const auto q = q_.leftCols(rank_);
        if (rank_ > 0) {
            Vector along = q.transpose() * a;
            a.noalias() -= q * along;
            sizes.noalias() += sizes_.leftCols(rank_) * along.cwiseAbs();
            along.noalias() = q.transpose() * a;
            a.noalias() -= q * along;
        }
        const auto terms = static_cast<double>(std::max(n_terms, a.size()));
        const double rounding = std::numeric_limits<double>::epsilon() * (8 + 2 * std::sqrt(terms));
        bool is_new = false;
        for (Index i = 0; i < a.size() && !is_new; ++i)
            is_new = std::fabs(a[i]) > rounding * sizes[i];
        if (!is_new) return true;
        if (rank_ == most()) return false;
        a *= std::ldexp(1.0, -std::ilogb(a.cwiseAbs().maxCoeff()));
        a.normalize();
        if (rank_ > 0) {
            const Vector along = q.transpose() * a;
            a.noalias() -= q * along;
            a.normalize();
        }
        q_.col(rank_) = a;
        sizes_.col(rank_) = a.cwiseAbs();
        ++rank_;
        return true;
    }

private:
    Columns q_, sizes_;
    Index rank_;
};

/// One run.
class Search {
public:
    Search(const SubspaceProblem& problem, Index run) : widths_(problem.widths) {
        const std::size_t n_layers = problem.weights.size();
        for (std::size_t l = 0; l < n_layers; ++l)
            weights_.emplace_back(problem.weights[l].at(run, problem.run_shape), widths_[l + 1],
                                  widths_[l]);
        for (std::size_t l = 1; l < n_layers; ++l) {
            bases_.emplace_back(widths_[l], problem.room(l));
            // Nothing is to be gained: the whole space as it stands.
            if (widths_[l] <= problem.n_seen + widths_.back())
                bases_.back().set(Columns::Identity(widths_[l], widths_[l]));
        }
        pushed_up_.assign(bases_.size(), 0);
        pushed_down_.assign(bases_.size(), 0);
    }

    bool is_finite() const {
        for (const ConstRows& w : weights_) {
            if (!w.allFinite()) return false;
        }
        return true;
    }

    /// Find the hidden subspaces of a chain whose loss sees the inputs along some columns, all if
    /// null. False if they are too large, or there was a reason to stop.
    template <class Stop>
    bool close(const Columns* seen, Stop&& stop) {
        Basis& first = bases_.front();
        if (seen == nullptr) {
            const ConstRows& w = weights_.front();
            for (Index j = 0; j < w.cols() && !first.is_whole(); ++j) {
                if (!first.span(w.col(j), w.col(j).cwiseAbs(), 1)) return false;
            }
        } else if (!map_up(0, *seen, first, stop)) {
            return false;
        }
        const ConstRows& last = weights_.back();
        for (Index i = 0; i < last.rows() && !bases_.back().is_whole(); ++i) {
            if (!bases_.back().span(last.row(i), last.row(i).cwiseAbs(), 1)) return false;
        }
        // Few columns at first: weights without small subspaces show it soon, and most have none.
        Index count = 1;
        for (bool changed = true; changed; count *= 2) {
            changed = false;
            for (std::size_t l = bases_.size(); l-- > 0;) {
                if (l > 0) {
                    const Columns fresh = next(bases_[l], pushed_down_[l], count);
                    changed = changed || fresh.cols() > 0;
                    if (!map_down(l, fresh, bases_[l - 1], stop)) return false;
                }
                if (l + 1 < bases_.size()) {
                    const Columns fresh = next(bases_[l], pushed_up_[l], count);
                    changed = changed || fresh.cols() > 0;
                    if (!map_up(l + 1, fresh, bases_[l + 1], stop)) return false;
                }
            }
        }
        return true;
    }
    /// What the layers above see of the inputs outside the columns of `seen`.
    template <class Stop>
    bool see(const Columns& seen, Basis& inputs, Stop&& stop) {
        inputs.set(seen);
        const Basis& first = bases_.front();
        return map_down(0, first.columns(0, first.rank()), inputs, stop);
    }

    const Basis& basis(std::size_t hidden) const { return bases_[hidden]; }
    std::size_t n_hidden() const { return bases_.size(); }

private:
    /// The next columns of a basis, at most so many, that have not been mapped yet.
    static Columns next(const Basis& basis, Index& done, Index count) {
        const Index first = done;
        done = std::min(basis.rank(), first + count);
        return basis.columns(first, done - first);
    }
    /// Let `to` span the images of columns under a layer.
    template <class Stop>
    bool map_up(std::size_t layer, const Columns& x, Basis& to, Stop&& stop) {
        if (x.cols() == 0 || to.is_whole()) return true;
        const ConstRows& w = weights_[layer];
        const Columns sizes_of_x = x.cwiseAbs();
        Columns y(w.rows(), x.cols());
        Columns sizes(w.rows(), x.cols());
        for (Index row = 0; row < w.rows(); row += panel) {
            if (stop()) return false;
            const Index count = std::min(panel, w.rows() - row);
            y.middleRows(row, count).noalias() = w.middleRows(row, count) * x;
            const Rows absolute = w.middleRows(row, count).cwiseAbs();
            sizes.middleRows(row, count).noalias() = absolute * sizes_of_x;
        }
        return span_all(y, sizes, w.cols(), to);
    }
    /// The same of its transpose.
    template <class Stop>
    bool map_down(std::size_t layer, const Columns& x, Basis& to, Stop&& stop) {
        if (x.cols() == 0 || to.is_whole()) return true;
        const ConstRows& w = weights_[layer];
        const Columns sizes_of_x = x.cwiseAbs();
        Columns y = Columns::Zero(w.cols(), x.cols());
        Columns sizes = Columns::Zero(w.cols(), x.cols());
        for (Index row = 0; row < w.rows(); row += panel) {
            if (stop()) return false;
            const Index count = std::min(panel, w.rows() - row);
            y.noalias() += w.middleRows(row, count).transpose() * x.middleRows(row, count);
            const Rows absolute = w.middleRows(row, count).cwiseAbs();
            sizes.noalias() += absolute.transpose() * sizes_of_x.middleRows(row, count);
        }
        return span_all(y, sizes, w.rows(), to);
    }
    static bool span_all(const Columns& y, const Columns& sizes, Index n_terms, Basis& to) {
        for (Index j = 0; j < y.cols(); ++j) {
            if (!to.span(y.col(j), sizes.col(j), n_terms)) return false;
        }
        return true;
    }

    std::vector<Index> widths_;
    std::vector<ConstRows> weights_;
    std::vector<Basis> bases_;
    std::vector<Index> pushed_up_, pushed_down_;
};

/// Put columns of a basis, from `first` on, into the first columns of a matrix in C order.
void put(const Basis& basis, Index first, double* to, Index n_columns) {
    const Index count = basis.rank() - first;
    const Columns q = basis.columns(first, count);
    Eigen::Map<Rows> matrix(to, q.rows(), n_columns);
    matrix.setZero();
    matrix.leftCols(count) = q;
}

}  // namespace

void find_subspaces(const SubspaceProblem& problem, const Subspaces& out, const Control& control) {
    const std::vector<Index>& widths = problem.widths;
    const std::size_t n_layers = problem.weights.size();
    const bool all_seen = problem.seen.data == nullptr;
    const Index most_unseen =
        all_seen ? 0 : std::min(widths.front() - problem.n_seen, problem.most);
    for_each_task(n_runs_of(problem.run_shape), control, [&](Index run, Pulse& pulse) {
        std::int64_t* const ranks = out.ranks + run * static_cast<Index>(n_layers);
        const auto hidden = [&](std::size_t l) {
            return out.hidden[l] + run * widths[l + 1] * problem.room(l + 1);
        };
        std::fill_n(ranks, n_layers, 0);
        Search search(problem, run);
        Columns seen;
        if (!all_seen)
            seen =
                ConstRows(problem.seen.at(run, problem.run_shape), widths.front(), problem.n_seen);
        Basis inputs(all_seen ? 0 : widths.front(), problem.n_seen + most_unseen);
        // A run that has ended with weights that are no numbers trains no more.
        const bool lives = search.is_finite();
        if (lives && !(search.close(all_seen ? nullptr : &seen, pulse) &&
                       (all_seen || search.see(seen, inputs, pulse)))) {
            std::fill_n(ranks, n_layers, -1);
            return;
        }
        for (std::size_t l = 0; l < search.n_hidden(); ++l) {
            ranks[l + 1] = search.basis(l).rank();
            put(search.basis(l), 0, hidden(l), search.basis(l).most());
        }
        if (most_unseen == 0) return;
        if (lives) ranks[0] = inputs.rank() - problem.n_seen;
        put(inputs, lives ? problem.n_seen : 0, out.unseen + run * widths.front() * most_unseen,
            most_unseen);
    });
}

}  // namespace linnet
