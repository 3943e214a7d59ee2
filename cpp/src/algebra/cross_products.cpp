#include <algorithm>
#include <type_traits>

#include "base/arena.hpp"
#include "base/simd.hpp"
#include "base/tasks.hpp"
#include "linnet/algebra.hpp"

namespace linnet {

namespace {

using V = Pack<double, native_lanes<double>>;

constexpr Index strip_columns = 16;
constexpr Index strip_packs = strip_columns / native_lanes<double>;
// What a task has in hand at once, so that it seldom goes through the rows again.
constexpr Index panel_columns = 8 * strip_columns;
constexpr Index tile_rows = vector_registers == 32 ? 8 : 2;
// Sums go over blocks of so many terms, and then over the blocks: less rounding for many samples.
// It is part of what the bits are.
constexpr Index block = 128;

/// out(rows, strip) <- out + a^T b over the terms of one block; b: its strip, packed.
template <Index rows>
void add_tile(const double* a, Index ld, const V* b, Index n_terms, double* out) {
    V sum[rows][strip_packs] = {};
    for (Index n = 0; n < n_terms; ++n) {
        for (Index i = 0; i < rows; ++i) {
            const V x = broadcast<V>(a[n * ld + i]);
            for (Index k = 0; k < strip_packs; ++k)
                sum[i][k] = sum[i][k] + x * b[n * strip_packs + k];
        }
    }
    for (Index i = 0; i < rows; ++i) {
        for (Index k = 0; k < strip_packs; ++k) {
            for (Index r = 0; r < native_lanes<double>; ++r)
                out[i * strip_columns + k * native_lanes<double> + r] += sum[i][k][r];
        }
    }
}

}  // namespace

void cross_products(const RunArray<double>& a, const RunArray<double>& b,
                    const std::vector<Index>& run_shape, Index n, Index n_rows, Index n_columns,
                    double* out, const Control& control) {
    const Index n_runs = n_runs_of(run_shape);
    const Index n_panels = (n_columns + panel_columns - 1) / panel_columns;
    for_each_task(n_runs * n_panels, control, [&](Index task, Pulse& pulse) {
        const Index run = task / n_panels;
        const Index first = task % n_panels * panel_columns;
        const Index n_used = std::min(panel_columns, n_columns - first);
        const Index n_strips = (n_used + strip_columns - 1) / strip_columns;
        const double* const left = a.at(run, run_shape);
        const double* const right = b.at(run, run_shape);
        const Index strip_size = block * strip_packs;
        const Arena<V> packed(n_strips * strip_size);
        const Arena<double> sums(n_strips * n_rows * strip_columns);
        for (Index from = 0; from < n; from += block) {
            const Index n_terms = std::min(block, n - from);
            for (Index strip = 0; strip < n_strips; ++strip) {
                const Index column = strip * strip_columns;
                auto* const to = reinterpret_cast<double*>(packed.data() + strip * strip_size);
                for (Index i = 0; i < n_terms; ++i)
                    std::copy_n(right + (from + i) * n_columns + first + column,
                                std::min(strip_columns, n_used - column), to + i * strip_columns);
            }
            const double* const terms = left + from * n_rows;
            Index row = 0;
            const auto add_rows = [&](auto count) {
                for (Index strip = 0; strip < n_strips; ++strip)
                    add_tile<decltype(count)::value>(
                        terms + row, n_rows, packed.data() + strip * strip_size, n_terms,
                        sums.data() + (strip * n_rows + row) * strip_columns);
                row += count;
            };
            while (row + tile_rows <= n_rows) add_rows(std::integral_constant<Index, tile_rows>{});
            while (row < n_rows) add_rows(std::integral_constant<Index, 1>{});
            if (pulse()) return;
        }
        for (Index row = 0; row < n_rows; ++row) {
            double* const to = out + (run * n_rows + row) * n_columns + first;
            for (Index column = 0; column < n_used; ++column)
                to[column] = sums.data()[(column / strip_columns * n_rows + row) * strip_columns +
                                         column % strip_columns];
        }
    });
}

}  // namespace linnet
