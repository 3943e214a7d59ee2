#include <algorithm>

#include "plan/builder.hpp"

namespace linnet {

namespace {

/// Multiplications that depend on the side from which products are accumulated.
double side_cost(const std::vector<Index>& widths, Index side) {
    double cost = 0;
    for (std::size_t l = 1; l < widths.size(); ++l) {
        cost += static_cast<double>(widths[l]) * static_cast<double>(widths[l - 1]) *
                static_cast<double>(side);
    }
    return cost;
}

}  // namespace

Plan dense_plan(const std::vector<Index>& widths, ResidualBy by, bool has_step_rule,
                Purpose purpose, int n_memories, bool feeds_back) {
    const bool at_once = purpose == Purpose::step;
    const bool slope = purpose == Purpose::slope;
    Builder b;
    const auto n_layers = static_cast<int>(widths.size()) - 1;
    const Index n_in = widths.front();
    const Index n_out = widths.back();
    const auto width = [&](int l) { return widths[static_cast<std::size_t>(l)]; };
    for (int l = 0; l < n_layers; ++l) {
        b.plan.weights.push_back(b.add(width(l + 1), width(l)));
        b.plan.factors.push_back({l, static_cast<double>(std::min(width(l + 1), width(l))), 0.0});
    }
    b.add_memories(n_memories);
    const auto weight = [&](int l) { return b.plan.weights[static_cast<std::size_t>(l)]; };
    const auto way_back = [&](int l) {
        if (!feeds_back) return weight(l);
        return b.plan.memories[b.plan.memories.size() - static_cast<std::size_t>(n_layers - l)];
    };

    b.plan.gradients.assign(static_cast<std::size_t>(n_layers), -1);
    const auto gradient = [&](int l) -> int& {
        return b.plan.gradients[static_cast<std::size_t>(l)];
    };
    for (int l = 0; slope && l < n_layers; ++l) gradient(l) = b.add(width(l + 1), width(l));

    // Layers are multiplied up from the narrower end: partial products then have few rows (or
    // columns).
    // What errors pass back through must not stand in products then, which are made from the input.
    const bool from_output = !feeds_back && side_cost(widths, n_out) < side_cost(widths, n_in);
    // partial[l]: from the input, W_l ... W_0; from the output, W_{L-1} ... W_l.
    std::vector<int> partial(static_cast<std::size_t>(n_layers));
    const auto part = [&](int l) -> int& { return partial[static_cast<std::size_t>(l)]; };
    // Two buffers take turns for what is passed back, and the product starts in one of them. Where
    // everything is to be looked at afterwards, nothing is shared; of a flow, the residual is.
    const bool share = purpose != Purpose::look;
    const int turns[2] = {share ? b.plan.n_storages++ : -1, share ? b.plan.n_storages++ : -1};
    if (from_output) {
        part(n_layers - 1) = weight(n_layers - 1);
        for (int l = n_layers - 2; l >= 0; --l) {
            part(l) = b.add(n_out, width(l), l == 0 ? turns[0] : -1);
            b.emit(Product::store, part(l), part(l + 1), weight(l));
        }
        b.plan.product = part(0);
    } else {
        part(0) = weight(0);
        for (int l = 1; l < n_layers; ++l) {
            part(l) = b.add(width(l + 1), n_in, l == n_layers - 1 ? turns[0] : -1);
            b.emit(Product::store, part(l), weight(l), part(l - 1));
        }
        b.plan.product = part(n_layers - 1);
    }
    b.plan.product_end = b.plan.operations.size();
    if (slope && n_layers == 1) {
        b.plan.residual = gradient(0);
    } else {
        b.plan.residual = b.add(n_out, n_in, share && !slope ? turns[1] : -1);
    }
    b.emit_residual(by, has_step_rule);

    int back = b.plan.residual;
    int turn = 0;
    for (int k = 0; k < n_layers; ++k) {
        const int l = from_output ? k : n_layers - 1 - k;
        int target = weight(l);
        if (k == n_layers - 1) {  // nothing left to pass through: what came back is the gradient
            if (at_once) {
                b.emit(Product::update_by, target, back, -1, l);
            } else {
                gradient(l) = back;
            }
            break;
        }
        int next = slope && k == n_layers - 2 ? gradient(from_output ? l + 1 : l - 1) : -1;
        if (from_output) {
            if (next < 0) next = b.add(n_out, width(l + 1), turns[turn]);
            b.emit(Product::store_nt, next, back, weight(l));
        } else {
            if (next < 0) next = b.add(width(l), n_in, turns[turn]);
            b.emit(Product::store_tn, next, way_back(l), back);
        }
        if (!at_once) {
            if (!slope) gradient(l) = b.add(width(l + 1), width(l));
            target = gradient(l);
        }
        // The layer is changed only after its old value has been used for `next`.
        if (from_output) {
            b.emit(at_once ? Product::update_tn : Product::store_tn, target, part(l + 1), back, l);
        } else {
            b.emit(at_once ? Product::update_nt : Product::store_nt, target, back, part(l - 1), l);
        }
        back = next;
        turn = 1 - turn;
    }
    b.plan.gradient_end = b.plan.operations.size();
    if (purpose == Purpose::update) b.emit_updates();
    if (slope) b.finish_slope();
    for (int l = 0; purpose == Purpose::look && l + 1 < n_layers; ++l) {
        const int upper = b.add(width(l + 1), width(l + 1));
        const int lower = b.add(width(l + 1), width(l + 1));
        b.emit(Product::store_tn, upper, weight(l + 1), weight(l + 1));
        b.emit(Product::store_nt, lower, weight(l), weight(l));
        b.plan.grams.emplace_back(upper, lower);
    }
    return b.plan;
}

}  // namespace linnet
