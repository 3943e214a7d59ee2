// Least squares from second moments.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "algebra/ordered.hpp"
#include "base/tasks.hpp"
#include "linnet/algebra.hpp"

namespace linnet {

namespace {

/// Powers of two that bring the diagonal to [1/2, 2): entries of 0 get that of the largest one.
void scales_of(const double* a, Index n, double* scales) {
    double largest = 0;
    for (Index j = 0; j < n; ++j) largest = std::max(largest, a[j * n + j]);
    for (Index j = 0; j < n; ++j) {
        const double entry = a[j * n + j] > 0 ? a[j * n + j] : largest;
        int exponent = 0;
        if (entry > 0) std::frexp(entry, &exponent);
        const int half = exponent >= 0 ? exponent / 2 : -((1 - exponent) / 2);
        scales[j] = std::ldexp(1.0, -half);
    }
}

}  // namespace

void pivoted_factor(const RunArray<double>& a, const std::vector<Index>& run_shape, Index n,
                    double* factor, std::int64_t* pivots, std::int64_t* ranks,
                    const Control& control) {
    const double negligible = 2 * static_cast<double>(n) * std::numeric_limits<double>::epsilon();
    for_each_task(n_runs_of(run_shape), control, [&](Index run, Pulse& pulse) {
        const double* const own = a.at(run, run_shape);
        double* const rows = factor + run * n * n;
        std::int64_t* const order = pivots + run * n;
        std::vector<double> scales(static_cast<std::size_t>(n)), left(scales);
        std::vector<char> is_used(static_cast<std::size_t>(n), 0);
        scales_of(own, n, scales.data());
        for (Index j = 0; j < n; ++j)
            left[static_cast<std::size_t>(j)] = own[j * n + j] *
                                                scales[static_cast<std::size_t>(j)] *
                                                scales[static_cast<std::size_t>(j)];
        std::fill_n(rows, n * n, 0.0);
        Index rank = 0;
        for (; rank < n; ++rank) {
            Index pivot = -1;
            for (Index j = 0; j < n; ++j) {
                const auto k = static_cast<std::size_t>(j);
                if (is_used[k] == 0 &&
                    (pivot < 0 || left[k] > left[static_cast<std::size_t>(pivot)]))
                    pivot = j;
            }
            const double rest = left[static_cast<std::size_t>(pivot)];
            if (!(rest > negligible)) break;
            is_used[static_cast<std::size_t>(pivot)] = 1;
            order[rank] = pivot;
            double* const row = rows + rank * n;
            const double scale = scales[static_cast<std::size_t>(pivot)];
            for (Index j = 0; j < n; ++j)
                row[j] = own[pivot * n + j] * scale * scales[static_cast<std::size_t>(j)];
            for (Index k = 0; k < rank; ++k)
                add_multiple(-rows[k * n + pivot], rows + k * n, row, n);
            const double root = std::sqrt(rest);
            for (Index j = 0; j < n; ++j) {
                const auto k = static_cast<std::size_t>(j);
                row[j] = is_used[k] != 0 ? 0 : row[j] / root;
                left[k] -= row[j] * row[j];
            }
            row[pivot] = root;
            if (pulse()) return;
        }
        ranks[run] = rank;
        Index behind = rank;
        for (Index j = 0; j < n; ++j) {
            if (is_used[static_cast<std::size_t>(j)] == 0) order[behind++] = j;
        }
        for (Index k = 0; k < rank; ++k) {
            for (Index j = 0; j < n; ++j) rows[k * n + j] /= scales[static_cast<std::size_t>(j)];
        }
    });
}

void factored_least_squares(const RunArray<double>& factor, const RunArray<std::int64_t>& pivots,
                            const RunArray<std::int64_t>& ranks, const RunArray<double>& cross,
                            const std::vector<Index>& run_shape, Index n, Index n_rows,
                            double* solution, double* explained, double* left,
                            const Control& control) {
    for_each_task(n_runs_of(run_shape), control, [&](Index run, Pulse& pulse) {
        const double* const rows = factor.at(run, run_shape);
        const std::int64_t* const order = pivots.at(run, run_shape);
        const Index rank = *ranks.at(run, run_shape);
        // The upper triangle of the pivots' columns.
        std::vector<double> triangle(static_cast<std::size_t>(rank * rank));
        for (Index k = 0; k < rank; ++k) {
            for (Index l = k; l < rank; ++l)
                triangle[static_cast<std::size_t>(k * rank + l)] = rows[k * n + order[l]];
        }
        std::vector<double> rest(static_cast<std::size_t>(n));
        std::vector<double> y(static_cast<std::size_t>(rank)), x(y);
        std::fill_n(explained + run * n_rows * n, n_rows * n, 0.0);
        std::fill_n(left + run * n, n, 0.0);
        for (Index i = 0; i < n_rows; ++i) {
            std::copy_n(cross.at(run, run_shape) + i * n, n, rest.begin());
            for (Index k = 0; k < rank; ++k) {
                const double* const row = rows + k * n;
                const auto pivot = static_cast<std::size_t>(order[k]);
                y[static_cast<std::size_t>(k)] = rest[pivot] / row[pivot];
                add_multiple(-y[static_cast<std::size_t>(k)], row, rest.data(), n);
            }
            for (Index k = 0; k < rank; ++k)
                explained[(run * n_rows + i) * n + order[k]] = y[static_cast<std::size_t>(k)];
            for (Index k = rank; k < n; ++k) {
                double& most = left[run * n + order[k]];
                most = std::max(most, std::fabs(rest[static_cast<std::size_t>(order[k])]));
            }
            double* const to = solution + (run * n_rows + i) * n;
            std::fill_n(to, n, 0.0);
            for (Index k = rank; k-- > 0;) {
                const double* const row = triangle.data() + k * rank;
                const double known = ordered_dot(row + k + 1, x.data() + k + 1, rank - k - 1);
                x[static_cast<std::size_t>(k)] = (y[static_cast<std::size_t>(k)] - known) / row[k];
                to[order[k]] = x[static_cast<std::size_t>(k)];
            }
            if (pulse()) return;
        }
    });
}

}  // namespace linnet
