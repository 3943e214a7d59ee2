// Eigenvalues of small symmetric matrices, in memory that is there: Householder's reduction, then
// the QL method with implicit shifts (J. H. Wilkinson, C. Reinsch, "Handbook for automatic
// computation II", 1971).
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "linnet/index.hpp"

namespace linnet {

/// a (n x n, row-major, symmetric, destroyed) = Q diag(values) Q^T. rows become rows Q: entry j of
/// row r is at rows[j * ld + r]. values and off hold n numbers, sums n_rows. False where it did not
/// converge, as of NaN.
inline bool symmetric_eigenvalues(double* a, Index n, double* values, double* off, double* rows,
                                  Index n_rows, Index ld, double* sums) {
    for (Index k = 0; k + 2 < n; ++k) {
        // A reflection of the places k + 1 ... n - 1 that clears what is below the next one.
        double scale = 0;
        for (Index i = k + 2; i < n; ++i) scale = std::max(scale, std::fabs(a[i * n + k]));
        if (!(scale > 0)) continue;
        scale = std::max(scale, std::fabs(a[(k + 1) * n + k]));
        double* const v = values;  // not needed before
        double square = 0;
        for (Index i = k + 1; i < n; ++i) {
            v[i] = a[i * n + k] / scale;
            square += v[i] * v[i];
        }
        const double norm = std::copysign(std::sqrt(square), v[k + 1]);
        const double beta = 1 / (square + norm * v[k + 1]);
        v[k + 1] += norm;
        a[(k + 1) * n + k] = a[k * n + k + 1] = -norm * scale;
        for (Index i = k + 2; i < n; ++i) a[i * n + k] = a[k * n + i] = 0;
        double* const p = off;
        double along = 0;
        std::fill_n(p + k + 1, n - k - 1, 0.0);
        for (Index j = k + 1; j < n; ++j) {  // by rows, whose entries do not wait for each other
            const double factor = beta * v[j];
            for (Index i = k + 1; i < n; ++i) p[i] += factor * a[j * n + i];
        }
        for (Index i = k + 1; i < n; ++i) along += p[i] * v[i];
        for (Index i = k + 1; i < n; ++i) p[i] -= 0.5 * beta * along * v[i];
        for (Index i = k + 1; i < n; ++i) {
            for (Index j = k + 1; j < n; ++j) a[i * n + j] -= v[i] * p[j] + p[i] * v[j];
        }
        // Rows stand side by side, so that they do not wait for each other.
        std::fill_n(sums, n_rows, 0.0);
        for (Index j = k + 1; j < n; ++j) {
            for (Index r = 0; r < n_rows; ++r) sums[r] += beta * v[j] * rows[j * ld + r];
        }
        for (Index j = k + 1; j < n; ++j) {
            for (Index r = 0; r < n_rows; ++r) rows[j * ld + r] -= sums[r] * v[j];
        }
    }
    for (Index i = 0; i < n; ++i) {
        values[i] = a[i * n + i];
        off[i] = i + 1 < n ? a[(i + 1) * n + i] : 0;
    }
    constexpr double eps = std::numeric_limits<double>::epsilon();
    for (Index l = 0; l < n; ++l) {
        for (int sweep = 0;; ++sweep) {
            Index m = l;
            while (m + 1 < n &&
                   !(std::fabs(off[m]) <= eps * (std::fabs(values[m]) + std::fabs(values[m + 1]))))
                ++m;
            if (m == l) break;
            if (sweep == 60) return false;
            double g = (values[l + 1] - values[l]) / (2 * off[l]);
            double r = std::hypot(g, 1.0);
            g = values[m] - values[l] + off[l] / (g + std::copysign(r, g));
            double s = 1;
            double c = 1;
            double p = 0;
            bool is_split = false;
            for (Index i = m - 1; i >= l; --i) {
                double f = s * off[i];
                const double b = c * off[i];
                r = std::hypot(f, g);
                off[i + 1] = r;
                if (r == 0) {
                    values[i + 1] -= p;
                    off[m] = 0;
                    is_split = true;
                    break;
                }
                s = f / r;
                c = g / r;
                g = values[i + 1] - p;
                r = (values[i] - g) * s + 2 * c * b;
                p = s * r;
                values[i + 1] = g + p;
                g = c * r - b;
                double* const lower = rows + i * ld;
                double* const upper = lower + ld;
                for (Index row = 0; row < n_rows; ++row) {
                    const double x = upper[row];
                    upper[row] = s * lower[row] + c * x;
                    lower[row] = c * lower[row] - s * x;
                }
            }
            if (is_split) continue;
            values[l] -= p;
            off[l] = g;
            off[m] = 0;
        }
    }
    return true;
}

}  // namespace linnet
