#include "plan.hpp"

#include <algorithm>

namespace linnet {

namespace {

struct Builder {
    Plan plan;

    int add(Index rows, Index cols, int storage = -1) {
        if (storage < 0) storage = plan.n_storages++;
        plan.matrices.push_back({rows, cols, storage});
        return static_cast<int>(plan.matrices.size()) - 1;
    }
    const Plan::Matrix& operator[](int id) const {
        return plan.matrices[static_cast<std::size_t>(id)];
    }
    void emit(Product kind, int c, int a, int b, int layer = 0) {
        plan.operations.push_back({kind, c, a, b, layer});
    }
};

/// Multiplications that depend on the side from which products are accumulated.
double side_cost(const std::vector<Index>& widths, Index side) {
    double cost = 0;
    for (std::size_t l = 1; l < widths.size(); ++l) {
        cost += static_cast<double>(widths[l]) * static_cast<double>(widths[l - 1]) *
                static_cast<double>(side);
    }
    return cost;
}

/// What the gradients are for: to move the weights at once, to be looked at with all that leads to them, or to be the
/// slopes of a flow.
enum class Purpose { step, look, slope };

Plan make_plan(const std::vector<Index>& widths, bool diagonal_cov, Purpose purpose) {
    const bool update = purpose == Purpose::step;
    const bool slope = purpose == Purpose::slope;
    Builder b;
    const auto n_layers = static_cast<int>(widths.size()) - 1;
    const Index n_in = widths.front();
    const Index n_out = widths.back();
    const auto width = [&](int l) { return widths[static_cast<std::size_t>(l)]; };
    for (int l = 0; l < n_layers; ++l) b.plan.weights.push_back(b.add(width(l + 1), width(l)));
    const auto weight = [&](int l) { return b.plan.weights[static_cast<std::size_t>(l)]; };

    b.plan.gradients.assign(static_cast<std::size_t>(n_layers), -1);
    const auto gradient = [&](int l) -> int& {
        return b.plan.gradients[static_cast<std::size_t>(l)];
    };
    for (int l = 0; slope && l < n_layers; ++l) gradient(l) = b.add(width(l + 1), width(l));

    // Layers are multiplied up from the narrower end: partial products then have few rows (or columns).
    const bool from_output = side_cost(widths, n_out) < side_cost(widths, n_in);
    // partial[l]: from the input, W_l ... W_0; from the output, W_{L-1} ... W_l.
    std::vector<int> partial(static_cast<std::size_t>(n_layers));
    const auto part = [&](int l) -> int& { return partial[static_cast<std::size_t>(l)]; };
    // Two buffers take turns for what is passed back, and the product starts in one of them. Where everything is to be
    // looked at afterwards, nothing is shared; of a flow, the residual is.
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
        b.plan.residual = b.add(n_out, n_in, update ? turns[1] : -1);
    }
    b.emit(diagonal_cov ? Product::residual_diagonal : Product::residual, b.plan.residual,
           b.plan.product, -1);
    b.plan.residual_end = b.plan.operations.size();

    int back = b.plan.residual;
    int turn = 0;
    for (int k = 0; k < n_layers; ++k) {
        const int l = from_output ? k : n_layers - 1 - k;
        int target = weight(l);
        if (k == n_layers - 1) {  // nothing left to pass through: what came back is the gradient
            if (update) {
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
            b.emit(Product::store_tn, next, weight(l), back);
        }
        if (!update) {
            if (!slope) gradient(l) = b.add(width(l + 1), width(l));
            target = gradient(l);
        }
        // The layer is changed only after its old value has been used for `next`.
        if (from_output) {
            b.emit(update ? Product::update_tn : Product::store_tn, target, part(l + 1), back, l);
        } else {
            b.emit(update ? Product::update_nt : Product::store_nt, target, back, part(l - 1), l);
        }
        back = next;
        turn = 1 - turn;
    }
    b.plan.gradient_end = b.plan.operations.size();
    for (int l = 0; slope && l < n_layers; ++l) {
        for (std::size_t k = 0; k < b.plan.operations.size(); ++k) {
            if (b.plan.operations[k].c == gradient(l))
                b.plan.gradient_operations.push_back(static_cast<int>(k));
        }
    }
    if (slope && n_layers > 1) {
        const Index side = std::min(n_in, n_out);
        const int gram = b.add(side, side);
        b.plan.residual_power = b.add(side, side);
        b.emit(n_in < n_out ? Product::store_tn : Product::store_nt, gram, b.plan.residual,
               b.plan.residual);
        b.emit(Product::store, b.plan.residual_power, gram, gram);
    }
    for (int l = 0; purpose == Purpose::look && l + 1 < n_layers; ++l) {
        const int upper = b.add(width(l + 1), width(l + 1));
        const int lower = b.add(width(l + 1), width(l + 1));
        b.emit(Product::store_tn, upper, weight(l + 1), weight(l + 1));
        b.emit(Product::store_nt, lower, weight(l), weight(l));
        b.plan.grams.emplace_back(upper, lower);
    }
    return b.plan;
}

}  // namespace

Index Plan::inner(const Operation& operation) const {
    const Matrix& a = matrices[static_cast<std::size_t>(operation.a)];
    switch (operation.kind) {
        case Product::store_tn:
        case Product::update_tn:
            return a.rows;
        case Product::update_by:
        case Product::residual_diagonal:
            return 1;
        default:
            return a.cols;
    }
}

double Plan::multiply_adds() const {
    double total = 0;
    for (const Operation& operation : operations) {
        const Matrix& c = matrices[static_cast<std::size_t>(operation.c)];
        total += static_cast<double>(c.rows) * static_cast<double>(c.cols) *
                 static_cast<double>(inner(operation));
    }
    return total;
}

Plan training_plan(const std::vector<Index>& widths, bool diagonal_cov) {
    return make_plan(widths, diagonal_cov, Purpose::step);
}

Plan gradient_plan(const std::vector<Index>& widths, bool diagonal_cov) {
    return make_plan(widths, diagonal_cov, Purpose::look);
}

Plan slope_plan(const std::vector<Index>& widths, bool diagonal_cov) {
    return make_plan(widths, diagonal_cov, Purpose::slope);
}

}  // namespace linnet
