// Singular values of small matrices: Householder bidiagonalisation, then the qd algorithm with
// shifts (Fernando and Parlett 1994). Works on packs, one matrix per lane, and on plain scalars,
// with the same operations in the same order: a lane's result depends on nothing but that lane's
// matrix.
//
// Values are accurate to a few 1e-14 of the largest one, which is all that a record needs.
#pragma once

#include <algorithm>
#include <limits>

#include "base/arena.hpp"
#include "base/simd.hpp"
#include "linnet/index.hpp"

namespace linnet {

namespace detail {

/// y[i] = sum_j b[i][j] u[j] for `count` rows, each sum in order; rows side by side hide the
/// latency.
template <class V, int count>
inline void row_sums(const V* b, Index ld, const V* u, Index n, V* y) {
    V sum[count] = {};
    for (Index j = 0; j < n; ++j) {
#pragma GCC unroll 8
        for (int i = 0; i < count; ++i) sum[i] = fma(b[i * ld + j], u[j], sum[i]);
    }
    for (int i = 0; i < count; ++i) y[i] = sum[i];
}

/// Householder vector of x: x becomes v, returns the new leading entry; beta with H = 1 - beta v
/// v^T.
template <class V>
inline V reflector(V* x, Index n, V& beta) {
    V tail{};
    for (Index i = 1; i < n; ++i) tail = fma(x[i], x[i], tail);
    const V norm = square_root(fma(x[0], x[0], tail));
    const V alpha = select(less(x[0], V{}), norm, -norm);
    const V denominator = norm * (norm + absolute(x[0]));
    const auto something = less(V{}, denominator);
    const V one = broadcast<V>(1);
    beta = select(something, one / select(something, denominator, one), V{});
    x[0] = x[0] - alpha;
    return alpha;
}

/// b (m >= n, row-major, destroyed) -> squares of the bidiagonal: q[0..n), e[0..n-1).
template <class V, class Pulse>
void bidiagonalize(V* b, Index m, Index n, V* q, V* e, V* scratch, Pulse&& pulse) {
    V* const w = scratch;
    V* const column = scratch + m + n;
    for (Index k = 0; k < n; ++k) {
        if (m * n > 4096 && pulse()) return;  // small ones are done before anybody could notice
        V beta;
        for (Index i = k; i < m; ++i) column[i] = b[i * n + k];
        const V diagonal = reflector(column + k, m - k, beta);
        q[k] = diagonal * diagonal;
        for (Index j = k + 1; j < n; ++j) w[j] = V{};
        for (Index i = k; i < m; ++i) {
            for (Index j = k + 1; j < n; ++j) w[j] = fma(column[i], b[i * n + j], w[j]);
        }
        for (Index j = k + 1; j < n; ++j) w[j] = -(beta * w[j]);
        for (Index i = k; i < m; ++i) {
            for (Index j = k + 1; j < n; ++j) b[i * n + j] = fma(column[i], w[j], b[i * n + j]);
        }
        if (k + 1 == n) break;
        V* const row = b + k * n + k + 1;
        const Index tail = n - k - 1;
        const V off = reflector(row, tail, beta);
        e[k] = off * off;
        Index i = k + 1;
        for (; i + 8 <= m; i += 8) row_sums<V, 8>(b + i * n + k + 1, n, row, tail, w + i);
        for (; i < m; ++i) row_sums<V, 1>(b + i * n + k + 1, n, row, tail, w + i);
        for (i = k + 1; i < m; ++i) {
            const V factor = -(beta * w[i]);
            for (Index j = 0; j < tail; ++j)
                b[i * n + k + 1 + j] = fma(factor, row[j], b[i * n + k + 1 + j]);
        }
    }
}

/// The qd iteration for the eigenvalues of B^T B, given the squared entries of the bidiagonal B: q
/// on the diagonal and e above it. Every lane works on its own last unsplit block, rows
/// first..last, with its own shifts, so that no lane's result depends on another and no lane waits
/// for another before all are done.
template <class V>
class QdIteration {
public:
    /// scratch: 3 n entries.
    QdIteration(V* q, V* e, Index n, V* scratch)
        : q_(q),
          e_(e),
          n_(n),
          q_next_(scratch),
          e_next_(scratch + n),
          shifted_(scratch + 2 * n) {}

    /// Puts the eigenvalues into q, unordered.
    template <class Pulse>
    void run(Pulse&& pulse) {
        V largest{};
        for (Index i = 0; i < n_; ++i) {
            largest = larger(largest, q_[i]);
            if (i + 1 < n_) largest = larger(largest, e_[i]);
            shifted_[i] = V{};
        }
        // Leaving out an entry b of B moves no singular value s by more than b, nor, after a shift,
        // by more than (b^2 + b a) / (2 s), of which s^2 >= shifted is known: a is the diagonal
        // entry of B below b, so that b a stands beside the diagonal of B B^T.
        drop_ = broadcast<V>(1e-28) * largest;
        for (Index i = 0; i + 1 < n_; ++i) e_[i] = select(less_equal(e_[i], drop_), V{}, e_[i]);
        bound_ = n_ - 1;
        // A zero shift never fails and always converges, so no finite matrix meets the cap: it is
        // there for NaN.
        for (Index sweep = 0; sweep < 100 * n_; ++sweep) {
            while (bound_ > 0 && !any(less(V{}, e_[bound_ - 1]))) --bound_;
            if (bound_ == 0 || (sweep % 64 == 63 && pulse())) break;
            // Splits within a block are rare: two versions of each pass, one without what they
            // need. For a lane without a split both do the same operations.
            const V old_first = first_, old_last = last_;
            const bool split = !survey<false>();
            if (split) survey<true>();
            choose_shift(old_first, old_last);
            if (split) {
                this->sweep<true>();
            } else {
                this->sweep<false>();
            }
        }
        for (Index i = 0; i < n_; ++i) q_[i] = q_[i] + shifted_[i];
    }

private:
    static V index(Index i) { return broadcast<V>(static_cast<double>(i)); }

    /// Find the last block and what there is to know about it. False if a lane needs the version
    /// with splits.
    template <bool split>
    bool survey() {
        const V zero{};
        const V one = broadcast<V>(1);
        q_last_ = q_above_ = e_last_ = e_most_ = last_ = first_ = zero;
        q_others_ = infinity();
        V start = zero, least = q_[0], most = zero, count = zero;
        for (Index i = 0; i < bound_; ++i) {
            const MaskOf<V> joined = less(zero, e_[i]);
            last_ = select(joined, index(i + 1), last_);
            q_last_ = select(joined, q_[i + 1], q_last_);
            q_above_ = select(joined, q_[i], q_above_);
            e_last_ = select(joined, e_[i], e_last_);
            if constexpr (split) {
                q_others_ = select(joined, least, q_others_);
                least = select(joined, smaller(least, q_[i + 1]), q_[i + 1]);
                most = select(joined, larger(most, e_[i]), zero);
                e_most_ = select(joined, most, e_most_);
                start = select(joined, start, index(i + 1));
                first_ = select(joined, start, first_);
            } else {
                q_others_ = select(joined, smaller(q_others_, q_[i]), q_others_);
                e_most_ = larger(e_most_, e_[i]);
                count = select(joined, count + one, count);
            }
        }
        return split || !any(less(count, last_));
    }

    void choose_shift(V old_first, V old_last) {
        const V zero{};
        const MaskOf<V> same = less_equal(first_, old_first) & less_equal(old_first, first_) &
                               less_equal(last_, old_last) & less_equal(old_last, last_);
        d_ = select(same, d_, q_last_);
        least_ = select(same, least_, q_others_);
        growth_ = select(same, growth_, broadcast<V>(0.25));
        failures_ = select(same, failures_, zero);
        // Where the last row is the least: the smaller root of the last two rows, taken a little
        // low. Else a part of the least pivot, which bounds the eigenvalue from above. A shift that
        // is too large costs one sweep, no more.
        const V gap = smaller(q_above_ + e_last_, least_) - d_;
        const MaskOf<V> apart = less(zero, gap);
        const V pull = broadcast<V>(1.1) * q_last_ * e_last_ / select(apart, gap, broadcast<V>(1));
        const V corner =
            select(apart, larger(d_ - pull, broadcast<V>(0.5) * d_), broadcast<V>(0.25) * d_);
        V shift = select(less_equal(d_, least_), corner, growth_ * least_);
        // For a nearly diagonal block the norm of what is off the diagonal gives a true lower
        // bound, much the best one when values crowd together.
        const V q_least = smaller(q_others_, q_last_);
        const MaskOf<V> nearly_diagonal = less(broadcast<V>(16) * e_most_, q_least);
        if (any(nearly_diagonal)) {
            const V diagonal = square_root(q_least) - square_root(e_most_);
            shift = select(nearly_diagonal, larger(shift, diagonal * diagonal), shift);
        }
        shift = broadcast<V>(1 - 4 * std::numeric_limits<double>::epsilon()) * shift;
        const MaskOf<V> failed = less(zero, failures_);
        if (any(failed)) {
            // After a failure of the last pivot alone, tau + d is a lower bound, and a very good
            // one.
            const V bound = larger(tau_ + d_, zero) * broadcast<V>(1 - 1e-15);
            const V retreat = select(less_equal(zero, least_), bound, tau_ * broadcast<V>(0.7));
            shift = select(failed, select(less(broadcast<V>(3), failures_), zero, retreat), shift);
        }
        tau_ = shift;
    }

    /// One pass of the qd algorithm with the shift tau_, kept in the lanes where all pivots stay
    /// positive.
    template <bool split>
    void sweep() {
        const V zero{};
        const V one = broadcast<V>(1);
        const V tau = tau_;
        const V first = first_, last = last_;
        V pivot = split ? q_[0] - select(less(zero, first), zero, tau) : q_[0] - tau;
        V least = infinity();
        V d = d_;
        V limit = drop_ * (shifted_[0] + tau);  // without splits all rows have been shifted alike
        for (Index i = 0; i < bound_; ++i) {
            MaskOf<V> inside = less(index(i), last);
            V shift = tau;
            if constexpr (split) {
                inside = inside & less_equal(first, index(i));
                shift = select(less_equal(first, index(i + 1)) & less_equal(index(i + 1), last),
                               tau, zero);
                limit = drop_ * (shifted_[i] + select(inside, tau, zero));
            }
            least = select(inside, smaller(least, pivot), least);
            q_next_[i] = pivot + e_[i];
            // A split starts afresh: with 1 in place of the pivot the next one is q - shift.
            const V base = split ? select(less(zero, e_[i]), pivot, one) : pivot;
            const V ratio = q_[i + 1] / (split ? base + e_[i] : q_next_[i]);
            pivot = fma(base, ratio, -shift);
            d = select(inside, pivot, d);
            const V next_e = e_[i] * ratio;
            const V weight = next_e + (i + 1 < bound_ ? pivot + e_[i + 1] : pivot);
            e_next_[i] =
                select(less_equal(next_e * weight, fma(drop_, weight, limit)), zero, next_e);
        }
        q_next_[bound_] = pivot;
        const MaskOf<V> good = less_equal(zero, least) & less_equal(zero, d);
        failures_ = select(good, zero, failures_ + one);
        growth_ = select(good & less(least, d), growth_ + (one - growth_) * broadcast<V>(1.0 / 3),
                         growth_);
        least_ = least;
        d_ = d;

        // A block of two rows needs no sweep: both roots at once.
        const MaskOf<V> pair = less(zero, last) & less_equal(last - first, one);
        const MaskOf<V> accept = good & less(one, last - first);
        for (Index i = 0; i <= bound_; ++i) {
            MaskOf<V> moved = accept & less_equal(index(i), last);
            if constexpr (split) {
                // Blocks further up go through the same sweep with shift 0, which sorts them.
                q_[i] = select(moved, q_next_[i], q_[i]);
                if (i < bound_) e_[i] = select(moved, e_next_[i], e_[i]);
                moved = moved & less_equal(first, index(i));
            } else {
                q_[i] = select(moved, q_next_[i], q_[i]);
                if (i < bound_) e_[i] = select(moved, e_next_[i], e_[i]);
            }
            shifted_[i] = select(moved, shifted_[i] + tau, shifted_[i]);
        }
        if (any(pair)) solve_pairs(pair);
    }

    void solve_pairs(MaskOf<V> pair) {
        const V apart = q_above_ - q_last_;
        const V root = square_root(
            fma(apart, apart, e_last_ * (e_last_ + broadcast<V>(2) * (q_above_ + q_last_))));
        const V big = broadcast<V>(0.5) * (q_above_ + q_last_ + e_last_ + root);
        const V small = q_above_ / select(less(V{}, big), big, broadcast<V>(1)) * q_last_;
        for (Index i = 0; i <= bound_; ++i) {
            const MaskOf<V> upper = pair & less_equal(first_, index(i)) & less(index(i), last_);
            const MaskOf<V> lower =
                pair & less_equal(index(i), last_) & less_equal(last_, index(i));
            q_[i] = select(upper, big, select(lower, small, q_[i]));
            if (i < bound_) e_[i] = select(upper, V{}, e_[i]);
        }
    }
    static V infinity() { return broadcast<V>(std::numeric_limits<double>::infinity()); }

    V* q_;
    V* e_;
    Index n_;
    V* q_next_;
    V* e_next_;
    V* shifted_;       ///< what has been subtracted from row i so far
    Index bound_ = 0;  ///< e[bound..] is zero in every lane
    V drop_{};
    V first_{}, last_{}, q_last_{}, q_above_{}, e_last_{}, q_others_{},
        e_most_{};  // the block, by survey()
    V tau_{};       ///< the shift
    V d_{};         ///< last pivot of the block
    V least_{};     ///< least of its other pivots
    V growth_{};    ///< part of the least pivot to try
    V failures_{};  ///< sweeps in a row that failed
};

}  // namespace detail

/// Singular values with their storage.
template <class V>
class SingularValues {
public:
    SingularValues(Index rows, Index cols)
        : transposed_(rows < cols),
          m_(std::max(rows, cols)),
          n_(std::min(rows, cols)),
          memory_(m_ * n_ + 2 * n_ + 3 * (m_ + n_)) {}

    /// The singular values of the matrix a(i, j), unordered: n entries. NaN where an entry is not
    /// finite.
    template <class Matrix, class Pulse>
    const V* of(const Matrix& a, Pulse&& pulse) {
        V* const b = memory_.data();
        V largest{};
        V check{};
        for (Index i = 0; i < m_; ++i) {
            for (Index j = 0; j < n_; ++j) {
                const V x = transposed_ ? a(j, i) : a(i, j);
                b[i * n_ + j] = x;
                largest = larger(largest, absolute(x));
                check = fma(x, V{}, check);  // NaN if any entry is not finite
            }
        }
        // Relative to the largest entry, but for the very smallest, whose reciprocals overflow.
        const V scale = larger(largest, broadcast<V>(1e-300)) + check;
        const auto finite = less_equal(V{}, scale);
        const V factor = broadcast<V>(1) / scale;
        for (Index i = 0; i < m_ * n_; ++i) b[i] = select(finite, b[i] * factor, V{});
        V* const q = b + m_ * n_;
        V* const e = q + n_;
        V* const scratch = e + n_;
        detail::bidiagonalize(b, m_, n_, q, e, scratch, pulse);
        detail::QdIteration<V>(q, e, n_, scratch).run(pulse);
        for (Index i = 0; i < n_; ++i) q[i] = square_root(larger(q[i], V{})) * scale;
        return q;
    }
    Index count() const { return n_; }

private:
    bool transposed_;
    Index m_, n_;
    Arena<V> memory_;
};

}  // namespace linnet
