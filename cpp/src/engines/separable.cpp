#include "engines/separable.hpp"

#include <type_traits>

namespace linnet {

std::vector<int> separable_order(const Plan& plan) {
    if (plan.n_outputs() != 1 || !plan.vectors_are_columns || plan.identity >= 0) return {};
    const auto n = static_cast<std::size_t>(plan.n_inputs());
    std::vector<int> order;
    bool has_top = false;
    for (std::size_t k = 0; k < plan.operations.size(); ++k) {
        const Operation& operation = plan.operations[k];
        if (operation.kind == Product::update_by) {
            has_top = k + 1 == plan.operations.size();
            order.insert(order.begin(), operation.c);
        } else if (is_pattern(operation.kind)) {
            const Gather& gather = plan.gathers[static_cast<std::size_t>(operation.gather)];
            if (!gather.coefficient.empty() || !gather.fixed_from.empty() ||
                gather.from.size() != n || static_cast<std::size_t>(gather.n_targets) != n)
                return {};
            for (std::size_t t = 0; t < n; ++t) {
                const auto number = static_cast<std::int32_t>(t);
                if (gather.start[t] != number || gather.from[t] != number ||
                    gather.other[t] != number)
                    return {};
            }
            if (k < plan.product_end) order.push_back(operation.b);
        } else if (operation.kind != Product::residual_diagonal) {
            return {};
        }
    }
    // Layers that share weights, or another order of operations, are no such network.
    const std::size_t n_layers = plan.weights.size();
    const bool fits = has_top && n_layers >= 2 && n_layers <= most_separable_layers &&
                      order.size() == n_layers && plan.operations.size() == 3 * n_layers - 1;
    if (!fits) return {};
    for (std::size_t i = 0; i < n_layers; ++i) {
        for (std::size_t j = 0; j < i; ++j) {
            if (order[i] == order[j]) return {};
        }
    }
    return order;
}

namespace {

/// n_steps steps of inputs first ... first + width - 1.
template <class V, int n_layers, bool has_decay, int width>
void separable_block(const SeparableOperands<V>& o, Index first, Index n_steps) {
    V w[n_layers][width];
    V cov[width];
    V minus_cross[width];
    V step[n_layers];
    V shrink[n_layers] = {};
    const V* decay[n_layers];
    for (int l = 0; l < n_layers; ++l) {
        step[l] = *o.steps[l];
        if constexpr (has_decay) shrink[l] = *o.decays[l];
        decay[l] = has_decay ? &shrink[l] : nullptr;
        for (int q = 0; q < width; ++q) w[l][q] = o.weights[l][first + q];
    }
    for (int q = 0; q < width; ++q) {
        cov[q] = broadcast<V>(o.cov[(first + q) * (o.n_inputs + 1)]);
        minus_cross[q] = broadcast<V>(-o.cross[first + q]);
    }
    for (Index s = 0; s < n_steps; ++s) {
#pragma GCC unroll 8
        for (int q = 0; q < width; ++q) {
            V product[n_layers];
            product[0] = w[0][q];
#pragma GCC unroll 8
            for (int l = 1; l < n_layers; ++l) product[l] = fma(product[l - 1], w[l][q], V{});
            // The sum with 0 is that of the terms left out, which other ways of computing this do
            // add.
            V back = fma(product[n_layers - 1], cov[q], minus_cross[q]) + V{};
#pragma GCC unroll 8
            for (int l = n_layers - 1; l >= 1; --l) {
                const V next = fma(back, w[l][q], V{});
                w[l][q] = descend(w[l][q], fma(product[l - 1], back, V{}), step[l], decay[l]);
                back = next;
            }
            w[0][q] = descend(w[0][q], back, step[0], decay[0]);
        }
    }
    for (int l = 0; l < n_layers; ++l) {
        for (int q = 0; q < width; ++q) o.weights[l][first + q] = w[l][q];
    }
}

template <class V, int n_layers, bool has_decay>
void separable_layers(const SeparableOperands<V>& o, Index n_steps) {
    // As many inputs at once as hide the latency of one step and find registers.
    constexpr int width = n_layers <= 3 ? 4 : 2;
    Index i = 0;
    for (; i + width <= o.n_inputs; i += width)
        separable_block<V, n_layers, has_decay, width>(o, i, n_steps);
    for (; i < o.n_inputs; ++i) separable_block<V, n_layers, has_decay, 1>(o, i, n_steps);
}

}  // namespace

template <class V>
void separable_steps(const SeparableOperands<V>& o, std::size_t n_layers, Index n_steps) {
    const auto run = [&](auto layers) {
        if (o.decays[0] != nullptr) {
            separable_layers<V, layers.value, true>(o, n_steps);
        } else {
            separable_layers<V, layers.value, false>(o, n_steps);
        }
    };
    switch (n_layers) {
        case 2:
            return run(std::integral_constant<int, 2>{});
        case 3:
            return run(std::integral_constant<int, 3>{});
        case 4:
            return run(std::integral_constant<int, 4>{});
        case 5:
            return run(std::integral_constant<int, 5>{});
        default:
            return run(std::integral_constant<int, most_separable_layers>{});
    }
}

template void separable_steps(const SeparableOperands<Pack<double, native_lanes<double>>>&,
                              std::size_t, Index);
template void separable_steps(const SeparableOperands<Pack<float, native_lanes<float>>>&,
                              std::size_t, Index);

}  // namespace linnet
