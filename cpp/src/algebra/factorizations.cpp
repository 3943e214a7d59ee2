#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "algebra/ordered.hpp"
#include "base/tasks.hpp"
#include "linnet/algebra.hpp"

namespace linnet {

namespace {

constexpr int most_sweeps = 60;
// Of singular values relative to the largest: squares of smaller ones are no numbers any more.
constexpr double negligible = 1e-140;

/// A power of two near the largest entry; 1 if all are zero.
double scale_of(const double* a, Index size) {
    double largest = 0;
    for (Index i = 0; i < size; ++i) largest = std::max(largest, std::fabs(a[i]));
    if (largest == 0) return 1;
    int exponent = 0;
    std::frexp(largest, &exponent);
    return std::ldexp(1.0, std::clamp(exponent, -1021, 1023));
}

/// Householder's reflections of a matrix in C order, of n_rows >= n_columns. They go one after the
/// other over a few columns that are side by side in memory: each column sees the same operations in
/// the same order, whatever their number.
class Reflections {
public:
    Reflections(Index n_rows, Index n_columns)
        : m_(n_rows),
          n_(n_columns),
          a_(static_cast<std::size_t>(m_ * n_)),
          vectors_(static_cast<std::size_t>(m_ * n_)),
          factors_(static_cast<std::size_t>(n_)),
          some_(static_cast<std::size_t>(m_ * width)) {}

    template <class Stop>
    bool factor(const double* a, Stop&& stop) {
        std::copy_n(a, m_ * n_, a_.begin());
        for (Index first = 0; first < n_; first += width) {
            const Index end = std::min(first + width, n_);
            take(a_.data(), first, first, end);
            for (Index j = first; j < end; ++j) {
                if (stop()) return false;
                double* const column = some_.data() + (j - first) * (width + 1);
                double* const v = vector(j);
                const Index length = m_ - j;
                for (Index i = 0; i < length; ++i) v[i] = column[i * width];
                const double scale = scale_of(v, length);
                for (Index i = 0; i < length; ++i) v[i] /= scale;
                const double norm = std::sqrt(ordered_dot(v, v, length));
                factors_[index(j)] = 0;
                if (norm == 0) continue;
                const double leading = v[0];
                const double image = leading < 0 ? norm : -norm;
                v[0] = leading - image;
                factors_[index(j)] = 1 / (norm * (norm + std::fabs(leading)));
                reflect(j, j - first, j + 1 - first, end - first);
                *column = image * scale;
            }
            put(a_.data(), first, first, end);
            for (Index from = end; from < n_; from += width) {
                const Index to = std::min(from + width, n_);
                take(a_.data(), first, from, to);
                for (Index j = first; j < end; ++j) {
                    if (stop()) return false;
                    reflect(j, j - first, 0, to - from);
                }
                put(a_.data(), first, from, to);
            }
        }
        return true;
    }
    double r(Index i, Index j) const { return i <= j ? a_[index(i * n_ + j)] : 0; }
    /// q (m, n): the first columns of the product of all reflections, each times the sign of R's
    /// diagonal there.
    template <class Stop>
    bool form(double* q, Stop&& stop) {
        std::fill_n(q, m_ * n_, 0.0);
        for (Index j = 0; j < n_; ++j) q[j * n_ + j] = 1;
        for (Index from = 0; from < n_; from += width) {
            const Index to = std::min(from + width, n_);
            take(q, 0, from, to);
            for (Index j = to; j-- > 0;) {
                if (stop()) return false;
                reflect(j, j, std::max<Index>(j - from, 0), to - from);
            }
            put(q, 0, from, to);
        }
        for (Index j = 0; j < n_; ++j) {
            if (a_[index(j * n_ + j)] >= 0) continue;
            for (Index i = 0; i < m_; ++i) q[i * n_ + j] = -q[i * n_ + j];
        }
        return true;
    }

private:
    static constexpr Index width = 32;  ///< of the columns side by side

    static std::size_t index(Index i) { return static_cast<std::size_t>(i); }
    double* vector(Index j) { return vectors_.data() + j * m_; }
    /// Columns from ... to - 1 of a matrix, from a row on, side by side; and back.
    void take(const double* matrix, Index row, Index from, Index to) {
        for (Index i = row; i < m_; ++i)
            std::copy(matrix + i * n_ + from, matrix + i * n_ + to,
                      &some_[index((i - row) * width)]);
    }
    void put(double* matrix, Index row, Index from, Index to) const {
        for (Index i = row; i < m_; ++i)
            std::copy_n(&some_[index((i - row) * width)], to - from, matrix + i * n_ + from);
    }
    /// Reflect columns from ... to - 1 of those side by side, from a row on.
    void reflect(Index j, Index row, Index from, Index to) {
        if (factors_[index(j)] == 0) return;
        double* const rows = some_.data() + row * width;
        for (; from + width <= to; from += width) reflect_strip<width>(j, rows + from);
        for (; from + 8 <= to; from += 8) reflect_strip<8>(j, rows + from);
        for (; from < to; ++from) reflect_strip<1>(j, rows + from);
    }
    template <Index count>
    void reflect_strip(Index j, double* rows) {
        const double* const v = vector(j);
        const double factor = -factors_[index(j)];
        double sum[count] = {};
        for (Index i = 0; i < m_ - j; ++i) add_multiple(v[i], rows + i * width, sum, count);
        for (Index i = 0; i < m_ - j; ++i)
            add_multiple(factor * v[i], sum, rows + i * width, count);
    }

    Index m_, n_;
    std::vector<double> a_, vectors_, factors_, some_;
};

/// Rotations that make rows orthogonal: rows (n, n_entries) become diag(values) times orthonormal
/// ones, and turns (n, n) is what was done to them from the left.
class RowRotations {
public:
    RowRotations(double* rows, double* turns, Index n, Index n_entries)
        : rows_(rows),
          turns_(turns),
          n_(n),
          length_(n_entries),
          tolerance_(std::numeric_limits<double>::epsilon() *
                     std::sqrt(static_cast<double>(std::max<Index>(n_entries, 4)))) {}

    template <class Stop>
    bool run(Stop&& stop) {
        for (int sweep = 0; sweep < most_sweeps; ++sweep) {
            bool moved = false;
            for (Index p = 0; p + 1 < n_; ++p) {
                if (stop()) return false;
                for (Index q = p + 1; q < n_; ++q) moved |= rotate(p, q);
            }
            if (!moved) return true;
        }
        return true;
    }

private:
    bool rotate(Index p, Index q) {
        double* const x = rows_ + p * length_;
        double* const y = rows_ + q * length_;
        const double xx = ordered_dot(x, x, length_);
        const double yy = ordered_dot(y, y, length_);
        const double xy = ordered_dot(x, y, length_);
        if (!(std::fabs(xy) > tolerance_ * std::sqrt(xx) * std::sqrt(yy))) return false;
        const double zeta = (yy - xx) / (2 * xy);
        const double size = std::fabs(zeta) + std::sqrt(1 + zeta * zeta);
        const double tangent = zeta < 0 ? -1 / size : 1 / size;
        const double cosine = 1 / std::sqrt(1 + tangent * tangent);
        turn(x, y, length_, cosine, cosine * tangent);
        turn(turns_ + p * n_, turns_ + q * n_, n_, cosine, cosine * tangent);
        return true;
    }
    static void turn(double* x, double* y, Index n, double cosine, double sine) {
        for (Index i = 0; i < n; ++i) {
            const double u = x[i];
            const double v = y[i];
            x[i] = cosine * u - sine * v;
            y[i] = sine * u + cosine * v;
        }
    }

    double* rows_;
    double* turns_;
    Index n_, length_;
    double tolerance_;
};

/// The singular triplets of a matrix.
class Triplets {
public:
    Triplets(Index n_rows, Index n_columns)
        : m_(n_rows),
          n_(n_columns),
          scaled_(static_cast<std::size_t>(m_ * n_)),
          q_(scaled_.size()),
          rows_(static_cast<std::size_t>(n_ * n_)),
          turns_(rows_.size()),
          basis_(rows_.size()),
          norms_(static_cast<std::size_t>(n_)),
          order_(norms_.size()),
          tall_(m_, n_) {}

    template <class Stop>
    void find(const double* a, double* left, double* values, double* right, Stop&& stop) {
        const double scale = scale_of(a, m_ * n_);
        for (Index i = 0; i < m_ * n_; ++i) scaled_[index(i)] = a[i] / scale;
        if (!tall_.factor(scaled_.data(), stop) || !tall_.form(q_.data(), stop)) return;
        // The rows of R are nearer to orthogonal than its columns, and the basis that turns them
        // times Q is the left one.
        for (Index i = 0; i < n_; ++i) {
            const double sign = tall_.r(i, i) < 0 ? -1.0 : 1.0;
            for (Index j = 0; j < n_; ++j) {
                rows_[index(i * n_ + j)] = sign * tall_.r(i, j);
                turns_[index(i * n_ + j)] = i == j ? 1 : 0;
            }
        }
        if (!RowRotations(rows_.data(), turns_.data(), n_, n_).run(stop)) return;
        for (Index i = 0; i < n_; ++i) {
            const double* const row = rows_.data() + i * n_;
            const double norm = std::sqrt(ordered_dot(row, row, n_));
            norms_[index(i)] = norm > negligible ? norm : 0;
        }
        std::iota(order_.begin(), order_.end(), Index{0});
        std::stable_sort(order_.begin(), order_.end(),
                         [this](Index i, Index j) { return norms_[index(i)] > norms_[index(j)]; });
        if (!set_basis(stop)) return;
        for (Index k = 0; k < n_; ++k) {
            const Index from = order_[index(k)];
            values[k] = norms_[index(from)] * scale;
            Index largest = 0;
            for (Index i = 1; i < n_; ++i) {
                if (std::fabs(basis_[index(i * n_ + k)]) >
                    std::fabs(basis_[index(largest * n_ + k)]))
                    largest = i;
            }
            const double sign = basis_[index(largest * n_ + k)] < 0 ? -1.0 : 1.0;
            for (Index i = 0; i < n_; ++i) right[i * n_ + k] = sign * basis_[index(i * n_ + k)];
            const double* const turn = turns_.data() + from * n_;
            for (Index i = 0; i < m_; ++i)
                left[i * n_ + k] = sign * ordered_dot(q_.data() + i * n_, turn, n_);
        }
    }

private:
    static std::size_t index(Index i) { return static_cast<std::size_t>(i); }
    /// basis (n, n) <- the right vectors as columns; what has no singular value is filled up.
    template <class Stop>
    bool set_basis(Stop&& stop) {
        std::fill(basis_.begin(), basis_.end(), 0.0);
        Index rank = 0;
        for (; rank < n_ && norms_[index(order_[index(rank)])] > 0; ++rank) {
            const Index from = order_[index(rank)];
            for (Index i = 0; i < n_; ++i)
                basis_[index(i * n_ + rank)] = rows_[index(from * n_ + i)] / norms_[index(from)];
        }
        if (rank == n_) return true;
        Reflections square(n_, n_);
        std::vector<double> filled(basis_.size());
        if (!square.factor(basis_.data(), stop) || !square.form(filled.data(), stop)) return false;
        for (Index i = 0; i < n_; ++i)
            std::copy_n(filled.begin() + i * n_ + rank, n_ - rank, basis_.begin() + i * n_ + rank);
        return true;
    }

    Index m_, n_;
    std::vector<double> scaled_, q_, rows_, turns_, basis_, norms_;
    std::vector<Index> order_;
    Reflections tall_;
};

}  // namespace

void orthonormal_columns(const RunArray<double>& a, const std::vector<Index>& run_shape,
                         Index n_rows, Index n_columns, double* out, const Control& control) {
    for_each_task(n_runs_of(run_shape), control, [&](Index run, Pulse& pulse) {
        Reflections reflections(n_rows, n_columns);
        if (reflections.factor(a.at(run, run_shape), pulse))
            reflections.form(out + run * n_rows * n_columns, pulse);
    });
}

void singular_vectors(const RunArray<double>& a, const std::vector<Index>& run_shape, Index n_rows,
                      Index n_columns, double* left, double* values, double* right,
                      const Control& control) {
    for_each_task(n_runs_of(run_shape), control, [&](Index run, Pulse& pulse) {
        Triplets(n_rows, n_columns)
            .find(a.at(run, run_shape), left + run * n_rows * n_columns, values + run * n_columns,
                  right + run * n_columns * n_columns, pulse);
    });
}

}  // namespace linnet
