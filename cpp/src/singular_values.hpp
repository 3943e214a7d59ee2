// Singular values of small matrices: Householder bidiagonalisation, then the qd algorithm with shifts (Fernando and
// Parlett 1994). Works on packs, one matrix per lane, and on plain scalars, with the same operations in the same
// order: a lane's result depends on nothing but that lane's matrix.
//
// Values are accurate to a small multiple of n * epsilon * (largest value), which is all that a record needs.
#pragma once

#include <limits>

#include "lane_algebra.hpp"

namespace linnet {

namespace detail {

/// y[i] = sum_j b[i][j] u[j] for `count` rows, each sum in order; rows side by side hide the latency.
template <class V, int count>
inline void row_sums(const V* b, Index ld, const V* u, Index n, V* y) {
    V sum[count] = {};
    for (Index j = 0; j < n; ++j) {
#pragma GCC unroll 8
        for (int i = 0; i < count; ++i) sum[i] = fma(b[i * ld + j], u[j], sum[i]);
    }
    for (int i = 0; i < count; ++i) y[i] = sum[i];
}

/// Householder vector of x (stride s): x becomes v, returns the new leading entry; beta with H = 1 - beta v v^T.
template <class V>
inline V reflector(V* x, Index stride, Index n, V& beta) {
    V tail{};
    for (Index i = 1; i < n; ++i) tail = fma(x[i * stride], x[i * stride], tail);
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
        if (pulse()) return;
        V beta;
        for (Index i = k; i < m; ++i) column[i] = b[i * n + k];
        const V diagonal = reflector(column + k, 1, m - k, beta);
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
        const V off = reflector(row, 1, tail, beta);
        e[k] = off * off;
        Index i = k + 1;
        for (; i + 8 <= m; i += 8) row_sums<V, 8>(b + i * n + k + 1, n, row, tail, w + i);
        for (; i < m; ++i) row_sums<V, 1>(b + i * n + k + 1, n, row, tail, w + i);
        for (i = k + 1; i < m; ++i) {
            const V factor = -(beta * w[i]);
            for (Index j = 0; j < tail; ++j) b[i * n + k + 1 + j] = fma(factor, row[j], b[i * n + k + 1 + j]);
        }
    }
}

/// Storage for qd_eigenvalues: n entries each.
template <class V>
struct QdWorkspace {
    V* q_next;
    V* e_next;
    V* shifted;  ///< what has been subtracted from row i so far
};

/// The next shift for the block first..hi of (q, e): d is its last and `least` the least of its other pivots.
///
/// Where the last row is the least, the smaller root of the last two rows, taken a little low; else a part of the
/// least pivot, which bounds the eigenvalue from above. A shift that turns out too large costs one sweep, no more.
/// For a nearly diagonal block, least q and most e give a true lower bound, much the best when values crowd together.
template <class V>
inline V next_shift(V q_last, V q_above, V e_last, V d, V least, V q_least, V e_most, V growth) {
    const V zero{};
    const V gap = smaller(q_above + e_last, least) - d;
    const auto apart = less(zero, gap);
    const V pull = broadcast<V>(1.1) * q_last * e_last / select(apart, gap, broadcast<V>(1));
    const V corner = select(apart, larger(d - pull, broadcast<V>(0.5) * d), broadcast<V>(0.25) * d);
    V shift = select(less_equal(d, least), corner, growth * least);
    const auto nearly_diagonal = less(broadcast<V>(16) * e_most, q_least);
    if (any(nearly_diagonal)) {
        const V diagonal = square_root(q_least) - square_root(e_most);
        shift = select(nearly_diagonal, larger(shift, diagonal * diagonal), shift);
    }
    return broadcast<V>(1 - 4 * std::numeric_limits<double>::epsilon()) * shift;
}

/// Eigenvalues of B^T B for the bidiagonal B with squared entries q (diagonal) and e (above it); unordered, into q.
///
/// Every lane works on its own last unsplit block, first..last, with its own shifts, so that no lane's result depends
/// on another and no lane waits for another before all are done.
template <class V, class Pulse>
void qd_eigenvalues(V* q, V* e, Index n, const QdWorkspace<V>& work, Pulse&& pulse) {
    using Mask = MaskOf<V>;
    const V zero{};
    const V one = broadcast<V>(1);
    const V infinity = broadcast<V>(std::numeric_limits<double>::infinity());
    const auto index = [](Index i) { return broadcast<V>(static_cast<double>(i)); };
    V largest{};
    for (Index i = 0; i < n; ++i) {
        largest = larger(largest, q[i]);
        if (i + 1 < n) largest = larger(largest, e[i]);
        work.shifted[i] = zero;
    }
    // Leaving out an entry b of B moves no singular value s by more than b, nor by more than
    // (b^2 + b * pivot) / (2 s) after a shift, of which s^2 >= shifted is known.
    const V drop = broadcast<V>(1e-30) * largest;
    for (Index i = 0; i + 1 < n; ++i) e[i] = select(less_equal(e[i], drop), zero, e[i]);

    Index bound = n - 1;  // e[bound..] is zero in every lane
    V first = zero, last = zero, tau = zero, d = zero, least = zero, failures = zero, growth = zero;
    // A zero shift never fails and always converges, so no finite matrix meets the cap: it is there for NaN.
    for (Index sweep = 0; sweep < 100 * n; ++sweep) {
        while (bound > 0 && !any(less(zero, e[bound - 1]))) --bound;
        if (bound == 0 || (sweep % 64 == 63 && pulse())) break;
        // The last block with anything off the diagonal.
        const V old_first = first, old_last = last;
        V q_last = q[0], q_above = zero, e_last = zero, q_least = zero, q_others = zero, e_most = zero;
        V start = zero, running_least = q[0], running_most = zero;
        last = zero;
        for (Index i = 0; i < bound; ++i) {
            const Mask joined = less(zero, e[i]);
            q_others = select(joined, running_least, q_others);
            running_least = select(joined, smaller(running_least, q[i + 1]), q[i + 1]);
            running_most = select(joined, larger(running_most, e[i]), zero);
            start = select(joined, start, index(i + 1));
            first = select(joined, start, first);
            last = select(joined, index(i + 1), last);
            q_last = select(joined, q[i + 1], q_last);
            q_above = select(joined, q[i], q_above);
            e_last = select(joined, e[i], e_last);
            q_least = select(joined, running_least, q_least);
            e_most = select(joined, running_most, e_most);
        }
        const Mask active = less(zero, last);
        const Mask same = less_equal(first, old_first) & less_equal(old_first, first) & less_equal(last, old_last) & less_equal(old_last, last);
        d = select(same, d, q_last);
        least = select(same, least, q_others);
        growth = select(same, growth, broadcast<V>(0.25));
        failures = select(same, failures, zero);
        // After a failure of the last pivot alone, tau + d is a lower bound, and a very good one.
        const V retreat = select(less_equal(zero, least), larger(tau + d, zero) * broadcast<V>(1 - 1e-15), tau * broadcast<V>(0.25));
        const V again = select(less(broadcast<V>(3), failures), zero, retreat);
        tau = select(less(zero, failures), again, next_shift(q_last, q_above, e_last, d, least, q_least, e_most, growth));

        V pivot = q[0] - select(less(zero, first), zero, tau);
        least = infinity;
        for (Index i = 0; i < bound; ++i) {
            const Mask below = less_equal(first, index(i + 1)) & less_equal(index(i + 1), last);
            const Mask inside = less_equal(first, index(i)) & below;
            const V shift = select(below, tau, zero);
            least = select(inside, smaller(least, pivot), least);
            // A split (e = 0) starts afresh: with 1 in place of the pivot the next one is q - shift.
            const V base = select(less(zero, e[i]), pivot, one);
            const V ratio = q[i + 1] / (base + e[i]);
            work.q_next[i] = pivot + e[i];
            pivot = fma(base, ratio, -shift);
            d = select(inside, pivot, d);
            const V next_e = e[i] * ratio;
            const V known = work.shifted[i] + select(inside, tau, zero);
            const Mask drops = less_equal(next_e, drop) | less_equal(next_e * (next_e + absolute(pivot)), drop * known);
            work.e_next[i] = select(drops, zero, next_e);
        }
        work.q_next[bound] = pivot;
        const Mask good = less_equal(zero, least) & less_equal(zero, d);
        failures = select(good, zero, failures + one);
        growth = select(good & less(least, d), growth + (one - growth) * broadcast<V>(1.0 / 3), growth);

        // A block of two rows needs no sweep: both roots at once.
        const Mask pair = active & less_equal(last - first, one);
        V big = zero, small = zero;
        if (any(pair)) {
            const V spread = (q_above - q_last) * (q_above - q_last) + e_last * (e_last + broadcast<V>(2) * (q_above + q_last));
            big = broadcast<V>(0.5) * (q_above + q_last + e_last + square_root(spread));
            small = q_above / select(less(zero, big), big, one) * q_last;
        }
        const Mask accept = active & good & less(one, last - first);
        for (Index i = 0; i <= bound; ++i) {
            const Mask inside = less_equal(first, index(i)) & less_equal(index(i), last);
            const Mask solved = inside & pair;
            const Mask moved = inside & accept;
            q[i] = select(solved, select(less(index(i), last), big, small), select(accept, work.q_next[i], q[i]));
            work.shifted[i] = select(moved, work.shifted[i] + tau, work.shifted[i]);
            if (i < bound) e[i] = select(solved, zero, select(accept, work.e_next[i], e[i]));
        }
    }
    for (Index i = 0; i < n; ++i) q[i] = q[i] + work.shifted[i];
}

}  // namespace detail
}  // namespace linnet
