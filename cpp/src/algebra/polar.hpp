// Polar factors of small matrices: U V^T of A = U s V^T. Works on packs, one matrix per lane, and on
// plain scalars, with the same operations in the same order: a lane's result depends on nothing but
// that lane's matrix.
#pragma once

#include <limits>
#include <utility>

#include "base/entries.hpp"
#include "base/simd.hpp"

namespace linnet {

namespace detail {

/// The vectors of a matrix along its longer side, one after another.
template <class V>
struct LongVectors {
    V* data;
    Index n, length;
    V* operator[](Index k) const { return data + k * length; }

    /// Taken out of a matrix, divided by its largest entry: all between -1 and 1.
    LongVectors(const Places<V>& a, V* to)
        : data(to),
          n(a.rows < a.cols ? a.rows : a.cols),
          length(a.rows < a.cols ? a.cols : a.rows) {
        V largest{};
        for (Index i = 0; i < a.rows; ++i) {
            for (Index j = 0; j < a.cols; ++j) largest = larger(largest, absolute(a(i, j)));
        }
        const auto something = less(V{}, largest);
        const V scale = select(
            something, broadcast<V>(1) / select(something, largest, broadcast<V>(1)), largest);
        for (Index k = 0; k < n; ++k) {
            for (Index i = 0; i < length; ++i)
                (*this)[k][i] = scale * (n == a.rows ? a(k, i) : a(i, k));
        }
    }
};

template <class V>
inline V dot(const V* x, const V* y, Index n) {
    V sum{};
    for (Index i = 0; i < n; ++i) sum = fma(x[i], y[i], sum);
    return sum;
}

/// One rotation of x and y in the lanes where it is wanted.
template <class V, class M>
inline void rotate(V* x, V* y, Index n, V cosine, V sine, M wanted) {
    for (Index i = 0; i < n; ++i) {
        const V a = x[i];
        const V b = y[i];
        x[i] = select(wanted, fma(cosine, a, -(sine * b)), a);
        y[i] = select(wanted, fma(sine, a, cosine * b), b);
    }
}

}  // namespace detail

/// Singular values below this times the largest one count as 0.
template <class T>
inline constexpr T polar_tolerance = 1024 * std::numeric_limits<T>::epsilon();

/// a <- U V^T over the singular values of a = U s V^T that are not 0: by the method of Jacobi and
/// Hestenes. scratch: three times the entries of a and one more per vector.
template <class V>
void polar_factor(const Places<V>& a, V* scratch) {
    using T = ScalarOf<V>;
    const detail::LongVectors<V> u(a, scratch);
    V* const turned = scratch + u.n * u.length;  // all rotations, a vector for each of u
    for (Index k = 0; k < u.n; ++k) {
        for (Index i = 0; i < u.n; ++i) turned[k * u.n + i] = broadcast<V>(i == k ? T{1} : T{0});
    }
    const V one = broadcast<V>(1);
    const T eps = std::numeric_limits<T>::epsilon();
    // As far from orthogonal as rounding leaves a sum of that many terms.
    const V together = broadcast<V>(static_cast<T>(u.length) * eps * eps);
    // What is that short has no direction of its own.
    const V nothing = broadcast<V>(eps * eps * eps * eps);
    constexpr int most_sweeps = 40;
    bool moves = u.n > 1;
    for (int sweep = 0; sweep < most_sweeps && moves; ++sweep) {
        moves = false;
        for (Index p = 0; p + 1 < u.n; ++p) {
            for (Index q = p + 1; q < u.n; ++q) {
                V alpha{};
                V beta{};
                V gamma{};
                const V* const x = u[p];
                const V* const y = u[q];
                for (Index i = 0; i < u.length; ++i) {
                    alpha = fma(x[i], x[i], alpha);
                    beta = fma(y[i], y[i], beta);
                    gamma = fma(x[i], y[i], gamma);
                }
                const V size_of_angle =
                    select(less(nothing, smaller(alpha, beta)), gamma * gamma, V{});
                const auto wanted = less(together * (alpha * beta), size_of_angle);
                if (!any(wanted)) continue;
                moves = true;
                const V zeta = (beta - alpha) / select(wanted, gamma + gamma, one);
                const V size = one / (absolute(zeta) + square_root(fma(zeta, zeta, one)));
                const V tangent = select(less(zeta, V{}), -size, size);
                const V cosine = one / square_root(fma(tangent, tangent, one));
                const V sine = cosine * tangent;
                detail::rotate(u[p], u[q], u.length, cosine, sine, wanted);
                detail::rotate(turned + p * u.n, turned + q * u.n, u.n, cosine, sine, wanted);
            }
        }
    }
    V* const lengths = turned + u.n * u.n;
    V largest{};
    for (Index k = 0; k < u.n; ++k) {
        lengths[k] = square_root(detail::dot(u[k], u[k], u.length));
        largest = larger(largest, lengths[k]);
    }
    const V least = broadcast<V>(polar_tolerance<T>) * largest;
    for (Index k = 0; k < u.n; ++k) {
        const auto counts = less(least, lengths[k]);
        const V factor = select(counts, one / select(counts, lengths[k], one), V{});
        for (Index i = 0; i < u.length; ++i) u[k][i] = u[k][i] * factor;
    }
    for (Index i = 0; i < u.length; ++i) {
        for (Index j = 0; j < u.n; ++j) {
            V sum{};
            for (Index k = 0; k < u.n; ++k) sum = fma(u[k][i], turned[k * u.n + j], sum);
            (u.n == a.rows ? a(j, i) : a(i, j)) = sum;
        }
    }
}

/// a <- what so many steps X <- a X + (b A + c A^2) X, A = X X^T, make of a / |a|: singular values
/// come near 1. The coefficients are those of Muon. scratch: four times the entries of a.
template <class V>
void newton_schulz(const Places<V>& a, int n_steps, V* scratch) {
    using T = ScalarOf<V>;
    const detail::LongVectors<V> x(a, scratch);
    const Index n = x.n;
    V* const gram = scratch + n * x.length;
    V* const square = gram + n * n;
    V* const column = square + n * n;
    V total{};
    for (Index k = 0; k < n; ++k) total = total + detail::dot(x[k], x[k], x.length);
    const auto something = less(V{}, total);
    const V one = broadcast<V>(1);
    const V scale = select(something, one / square_root(select(something, total, one)), total);
    for (Index i = 0; i < n * x.length; ++i) x.data[i] = scale * x.data[i];
    const V first = broadcast<V>(static_cast<T>(3.4445));
    const V second = broadcast<V>(static_cast<T>(-4.7750));
    const V third = broadcast<V>(static_cast<T>(2.0315));
    for (int step = 0; step < n_steps; ++step) {
        for (Index p = 0; p < n; ++p) {
            for (Index q = 0; q <= p; ++q)
                gram[p * n + q] = gram[q * n + p] = detail::dot(x[p], x[q], x.length);
        }
        for (Index p = 0; p < n; ++p) {
            V* const row = square + p * n;
            for (Index q = 0; q < n; ++q) row[q] = V{};
            for (Index k = 0; k < n; ++k) {
                for (Index q = 0; q < n; ++q)
                    row[q] = fma(gram[p * n + k], gram[k * n + q], row[q]);
            }
            for (Index q = 0; q < n; ++q) row[q] = fma(third, row[q], second * gram[p * n + q]);
        }
        for (Index i = 0; i < x.length; ++i) {
            for (Index p = 0; p < n; ++p) {
                V sum{};
                for (Index k = 0; k < n; ++k) sum = fma(square[p * n + k], x[k][i], sum);
                column[p] = fma(first, x[p][i], sum);
            }
            for (Index p = 0; p < n; ++p) x[p][i] = column[p];
        }
    }
    for (Index k = 0; k < n; ++k) {
        for (Index i = 0; i < x.length; ++i) (n == a.rows ? a(k, i) : a(i, k)) = x[k][i];
    }
}

}  // namespace linnet
