#include "engines/fused.hpp"

#include <iterator>
#include <vector>

namespace linnet {

int fused_width(const Plan& plan) {
    constexpr Product kinds[] = {Product::store, Product::residual, Product::store_tn,
                                 Product::update_nt, Product::update_by};
    if (plan.weights.size() != 2 || plan.operations.size() != std::size(kinds)) return 0;
    const int lower = plan.weights[0];
    const int upper = plan.weights[1];
    const Index m = plan.n_inputs();
    for (const Plan::Matrix& matrix : plan.matrices) {
        if (matrix.rows != m || matrix.cols != m) return 0;
    }
    for (std::size_t k = 0; k < plan.operations.size(); ++k) {
        if (plan.operations[k].kind != kinds[k]) return 0;
    }
    const std::vector<Operation>& o = plan.operations;
    const bool fits = o[0].a == upper && o[0].b == lower && o[2].a == upper && o[3].c == upper &&
                      o[3].b == lower && o[4].c == lower && m >= 2 && m <= lane_tile;
    return fits ? static_cast<int>(m) : 0;
}

namespace {

template <class V, int m, bool shared>
void fused_step(const FusedOperands<V>& o) {
    using B = std::conditional_t<shared, ScalarOf<V>, V>;
    const auto pack = [](B x) {
        if constexpr (shared) {
            return broadcast<V>(x);
        } else {
            return x;
        }
    };
    const B* const cov = static_cast<const B*>(o.cov);
    const B* const cross = static_cast<const B*>(o.cross);
    const V* const lower = o.lower;
    const V upper_step = *o.upper_step;
    V gradient[m][m] = {};  // of the lower layer
#pragma GCC unroll 4
    for (int i = 0; i < m; ++i) {
        V* const row = o.upper + i * m;
        V upper[m];
        V product[m] = {};
        V residual[m];
        V change[m] = {};
#pragma GCC unroll 4
        for (int k = 0; k < m; ++k) {
            upper[k] = row[k];
#pragma GCC unroll 4
            for (int j = 0; j < m; ++j) product[j] = fma(upper[k], lower[k * m + j], product[j]);
        }
#pragma GCC unroll 4
        for (int j = 0; j < m; ++j) residual[j] = -pack(cross[i * m + j]);
#pragma GCC unroll 4
        for (int k = 0; k < m; ++k) {
#pragma GCC unroll 4
            for (int j = 0; j < m; ++j)
                residual[j] = fma(product[k], pack(cov[k * m + j]), residual[j]);
        }
#pragma GCC unroll 4
        for (int k = 0; k < m; ++k) {
#pragma GCC unroll 4
            for (int j = 0; j < m; ++j) gradient[k][j] = fma(upper[k], residual[j], gradient[k][j]);
        }
#pragma GCC unroll 4
        for (int k = 0; k < m; ++k) {
#pragma GCC unroll 4
            for (int j = 0; j < m; ++j) change[j] = fma(residual[k], lower[j * m + k], change[j]);
        }
        // No other row needs this one of the upper layer.
#pragma GCC unroll 4
        for (int j = 0; j < m; ++j)
            row[j] = descend(upper[j], change[j], upper_step, o.upper_decay);
    }
    const V lower_step = *o.lower_step;
#pragma GCC unroll 4
    for (int k = 0; k < m; ++k) {
#pragma GCC unroll 4
        for (int j = 0; j < m; ++j) {
            V& weight = o.lower[k * m + j];
            weight = descend(weight, gradient[k][j], lower_step, o.lower_decay);
        }
    }
}

}  // namespace

template <class V>
FusedStep<V> fused_step_of(int width, bool shared) {
    switch (width) {
        case 2:
            return shared ? fused_step<V, 2, true> : fused_step<V, 2, false>;
        case 3:
            return shared ? fused_step<V, 3, true> : fused_step<V, 3, false>;
        case 4:
            return shared ? fused_step<V, 4, true> : fused_step<V, 4, false>;
        default:
            return nullptr;
    }
}

template FusedStep<Pack<double, native_lanes<double>>> fused_step_of(int, bool);
template FusedStep<Pack<float, native_lanes<float>>> fused_step_of(int, bool);

}  // namespace linnet
