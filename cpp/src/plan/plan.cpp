#include "plan/plan.hpp"

#include <algorithm>

namespace linnet {

namespace {

/// What the gradients are for: to move the weights at once, to be looked at with all that leads to them, or to be the
/// slopes of a flow.
enum class Purpose { step, look, slope };

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
        Operation operation{kind, c, a, b, layer};
        plan.operations.push_back(operation);
    }
    void emit(Product kind, int c, int a, double factor) {
        emit(kind, c, a, -1);
        plan.operations.back().factor = factor;
    }
    void emit_pattern(Product kind, int c, int a, int b, int gather, int layer = 0) {
        emit(kind, c, a, b, layer);
        plan.operations.back().gather = gather;
    }
    /// The residual of the product, and what is to be known of it before the weights change.
    void emit_residual(ResidualBy by, bool has_step_rule) {
        const Product kind = by == ResidualBy::loss      ? Product::residual_by_loss
                             : by == ResidualBy::moments ? Product::residual
                                                         : Product::residual_diagonal;
        emit(kind, plan.residual, plan.product, -1);
        if (has_step_rule) emit(Product::set_steps, plan.residual, plan.product, -1);
        plan.residual_end = plan.operations.size();
    }
    /// Where the gradients of a flow are written, and a power of the residual.
    void finish_slope() {
        for (const int gradient : plan.gradients) {
            plan.gradient_operations.emplace_back();
            for (std::size_t k = 0; k < plan.operations.size(); ++k) {
                if (plan.operations[k].c == gradient)
                    plan.gradient_operations.back().push_back(static_cast<int>(k));
            }
        }
        if (plan.factors.size() == 1) return;
        const Plan::Matrix residual = (*this)[plan.residual];
        const Index side = std::min(residual.rows, residual.cols);
        const int gram = add(side, side);
        plan.residual_power = add(side, side);
        emit(residual.cols < residual.rows ? Product::store_tn : Product::store_nt, gram,
             plan.residual, plan.residual);
        emit(Product::store, plan.residual_power, gram, gram);
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

Plan dense_plan(const std::vector<Index>& widths, ResidualBy by, bool has_step_rule,
                Purpose purpose) {
    const bool update = purpose == Purpose::step;
    const bool slope = purpose == Purpose::slope;
    Builder b;
    const auto n_layers = static_cast<int>(widths.size()) - 1;
    const Index n_in = widths.front();
    const Index n_out = widths.back();
    const auto width = [&](int l) { return widths[static_cast<std::size_t>(l)]; };
    for (int l = 0; l < n_layers; ++l) {
        b.plan.weights.push_back(b.add(width(l + 1), width(l)));
        b.plan.factors.push_back(
            {l, static_cast<double>(std::min(width(l + 1), width(l))), 0.0});
    }
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
    b.emit_residual(by, has_step_rule);

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

/// The entries of a factor, gathered by row or by column.
Gather gathered(const Factor& factor, bool by_row) {
    Gather gather;
    gather.n_targets = by_row ? factor.rows : factor.cols;
    std::vector<std::vector<const Factor::Entry*>> lists(
        static_cast<std::size_t>(gather.n_targets));
    bool all_one = true;
    for (const Factor::Entry& entry : factor.entries) {
        lists[static_cast<std::size_t>(by_row ? entry.row : entry.col)].push_back(&entry);
        all_one = all_one && (entry.weight < 0 || entry.coefficient == 1);
    }
    for (const auto& list : lists) {
        gather.start.push_back(static_cast<std::int32_t>(gather.from.size()));
        gather.fixed_start.push_back(static_cast<std::int32_t>(gather.fixed_from.size()));
        for (const Factor::Entry* entry : list) {
            const std::int32_t from = by_row ? entry->col : entry->row;
            if (entry->weight < 0) {
                gather.fixed_from.push_back(from);
                gather.fixed.push_back(entry->coefficient);
            } else {
                gather.from.push_back(from);
                gather.other.push_back(entry->weight);
                if (!all_one) gather.coefficient.push_back(entry->coefficient);
            }
        }
    }
    gather.start.push_back(static_cast<std::int32_t>(gather.from.size()));
    gather.fixed_start.push_back(static_cast<std::int32_t>(gather.fixed_from.size()));
    return gather;
}

/// The entries of a factor, gathered by weight: vectors of the side of the rows, and of the columns.
Gather gathered_by_weight(const Factor& factor, Index n_weights) {
    Gather gather;
    gather.n_targets = n_weights;
    std::vector<std::vector<const Factor::Entry*>> lists(static_cast<std::size_t>(n_weights));
    bool all_one = true;
    for (const Factor::Entry& entry : factor.entries) {
        if (entry.weight < 0) continue;
        lists[static_cast<std::size_t>(entry.weight)].push_back(&entry);
        all_one = all_one && entry.coefficient == 1;
    }
    for (const auto& list : lists) {
        gather.start.push_back(static_cast<std::int32_t>(gather.from.size()));
        for (const Factor::Entry* entry : list) {
            gather.from.push_back(entry->row);
            gather.other.push_back(entry->col);
            if (!all_one) gather.coefficient.push_back(entry->coefficient);
        }
    }
    gather.start.push_back(static_cast<std::int32_t>(gather.from.size()));
    return gather;
}

/// Builds the plan of a chain of any factors. The chain is multiplied up from one side, whose matrices have few rows
/// (from the output) or few columns (from the input); what comes back from the other side has the same shape.
class ChainBuilder {
public:
    ChainBuilder(const Chain& chain, ResidualBy by, bool has_step_rule, Purpose purpose)
        : chain_(chain),
          by_(by),
          has_step_rule_(has_step_rule),
          purpose_(purpose),
          from_output_(chain.n_outputs() <= chain.n_inputs()),
          n_factors_(static_cast<int>(chain.factors.size())),
          users_(chain.sizes.size()) {
        for (const Factor& factor : chain.factors) {
            if (factor.array >= 0) ++users_[static_cast<std::size_t>(factor.array)];
        }
    }

    Plan build() {
        b_.plan.vectors_are_columns = from_output_;
        add_arrays();
        // Step by step from the narrow side; side(k) is what lies between the narrow end and the k-th factor from there.
        std::vector<int> side(static_cast<std::size_t>(n_factors_) + 1, -1);
        const bool share = purpose_ != Purpose::look;
        const int turns[2] = {share ? b_.plan.n_storages++ : -1,
                              share ? b_.plan.n_storages++ : -1};
        for (int k = 0; k < n_factors_; ++k) {
            const Factor& factor = nth(k);
            const auto at = static_cast<std::size_t>(k);
            if (k == 0) {
                if (is_plain(factor)) {
                    side[1] = weights(factor);
                    continue;
                }
                const Index extent = from_output_ ? chain_.n_outputs() : chain_.n_inputs();
                side[0] = b_.plan.identity = b_.add(extent, extent);
            }
            const bool is_last = k == n_factors_ - 1;
            side[at + 1] = add_side(outer_width(factor), is_last ? turns[0] : -1);
            apply(factor, side[at + 1], side[at], true);
        }
        b_.plan.product = side.back();
        b_.plan.product_end = b_.plan.operations.size();
        b_.plan.residual = add_side(outer_width(nth(n_factors_ - 1)),
                                    purpose_ == Purpose::step ? turns[1] : -1);
        b_.emit_residual(by_, has_step_rule_);

        int back = b_.plan.residual;
        int turn = 0;
        for (int k = n_factors_ - 1; k >= 0; --k) {
            const Factor& factor = nth(k);
            int next = -1;
            if (k > 0) {
                next = add_side(inner_width(factor), turns[turn]);
                apply(factor, next, back, false);
                turn = 1 - turn;
            }
            // The weights are changed only after their old values have been used for `next`.
            if (factor.array >= 0) differentiate(factor, side[static_cast<std::size_t>(k)], back);
            back = next;
        }
        if (purpose_ == Purpose::step) {
            for (std::size_t a = 0; a < users_.size(); ++a) {
                if (users_[a] > 1) {
                    b_.emit(Product::update_by, b_.plan.weights[a], b_.plan.gradients[a], -1,
                            static_cast<int>(a));
                }
            }
        }
        b_.plan.gradient_end = b_.plan.operations.size();
        if (purpose_ == Purpose::slope) b_.finish_slope();
        return b_.plan;
    }

private:
    /// The factors in the order in which they are multiplied.
    const Factor& nth(int k) const {
        return chain_.factors[static_cast<std::size_t>(from_output_ ? n_factors_ - 1 - k : k)];
    }
    Index outer_width(const Factor& factor) const {
        return from_output_ ? factor.cols : factor.rows;
    }
    Index inner_width(const Factor& factor) const {
        return from_output_ ? factor.rows : factor.cols;
    }
    static bool is_plain(const Factor& factor) {
        return factor.dense && !factor.plus_identity && factor.scale == 1;
    }
    int weights(const Factor& factor) const {
        return b_.plan.weights[static_cast<std::size_t>(factor.array)];
    }
    int add_side(Index width, int storage) {
        return from_output_ ? b_.add(chain_.n_outputs(), width, storage)
                            : b_.add(width, chain_.n_inputs(), storage);
    }

    void add_arrays() {
        std::vector<const Factor*> user(chain_.sizes.size(), nullptr);
        for (const Factor& factor : chain_.factors) {
            if (factor.array >= 0) user[static_cast<std::size_t>(factor.array)] = &factor;
        }
        const auto shape = [&](std::size_t a) {
            const Factor& factor = *user[a];
            return factor.dense ? std::pair(factor.rows, factor.cols)
                                : std::pair(Index{1}, chain_.sizes[a]);
        };
        for (std::size_t a = 0; a < chain_.sizes.size(); ++a)
            b_.plan.weights.push_back(b_.add(shape(a).first, shape(a).second));
        for (std::size_t a = 0; a < chain_.sizes.size(); ++a) {
            const bool wanted = purpose_ != Purpose::step || users_[a] > 1;
            b_.plan.gradients.push_back(wanted ? b_.add(shape(a).first, shape(a).second) : -1);
        }
        begun_.assign(chain_.sizes.size(), 0);
        for (const Factor& factor : chain_.factors) b_.plan.factors.push_back(size_of(factor));
    }
    Plan::Size size_of(const Factor& factor) const {
        const auto extent = static_cast<double>(std::min(factor.rows, factor.cols));
        if (factor.dense) {
            return {factor.array, extent / (factor.scale * factor.scale),
                    factor.plus_identity ? 1.0 : 0.0};
        }
        double fixed = 0;
        double squares = 0;
        for (const Factor::Entry& entry : factor.entries)
            (entry.weight < 0 ? fixed : squares) += entry.coefficient * entry.coefficient;
        if (factor.array < 0) return {-1, 1, fixed / extent};
        // As if all weights were of the same size.
        const auto n_weights =
            static_cast<double>(chain_.sizes[static_cast<std::size_t>(factor.array)]);
        return {factor.array, extent * n_weights / std::max(squares, 1e-300), fixed / extent};
    }

    /// to = from times the factor, away from the narrow side; or back through its transpose.
    void apply(const Factor& factor, int to, int from, bool away) {
        if (!factor.dense) {
            const int gather = static_cast<int>(b_.plan.gathers.size());
            b_.plan.gathers.push_back(gathered(factor, from_output_ != away));
            b_.emit_pattern(Product::pattern, to, from, factor.array < 0 ? -1 : weights(factor),
                            gather);
            return;
        }
        if (from_output_) {
            b_.emit(away ? Product::store : Product::store_nt, to, from, weights(factor));
        } else {
            b_.emit(away ? Product::store : Product::store_tn, to, weights(factor), from);
        }
        if (factor.plus_identity) {
            b_.emit(Product::combine, to, from, factor.scale);
        } else if (factor.scale != 1) {
            b_.emit(Product::copy, to, to, factor.scale);
        }
    }

    /// The gradient by the weights of a factor, from what lies before it and what comes back to it: used at once, or
    /// added to those of the other factors that share its weights.
    void differentiate(const Factor& factor, int before, int back) {
        const auto a = static_cast<std::size_t>(factor.array);
        const bool alone = users_[a] == 1;
        const bool at_once = alone && purpose_ == Purpose::step;
        int target = at_once ? weights(factor) : b_.plan.gradients[a];
        const bool is_first = begun_[a] == 0;
        begun_[a] = 1;
        if (!is_first) target = b_.add(b_[target].rows, b_[target].cols);
        if (factor.dense) {
            if (factor.scale != 1) {
                const int scaled = b_.add(b_[back].rows, b_[back].cols);
                b_.emit(Product::copy, scaled, back, factor.scale);
                back = scaled;
            }
            if (before < 0) {  // the end of the chain: what comes back is the gradient
                if (at_once) {
                    b_.emit(Product::update_by, target, back, -1, factor.array);
                } else {
                    b_.emit(Product::copy, target, back, 1.0);
                }
            } else if (from_output_) {
                b_.emit(at_once ? Product::update_tn : Product::store_tn, target, before, back,
                        factor.array);
            } else {
                b_.emit(at_once ? Product::update_nt : Product::store_nt, target, back, before,
                        factor.array);
            }
        } else {
            const int gather = static_cast<int>(b_.plan.gathers.size());
            b_.plan.gathers.push_back(gathered_by_weight(factor, chain_.sizes[a]));
            b_.emit_pattern(at_once ? Product::pattern_update : Product::pattern_gradient, target,
                            from_output_ ? before : back, from_output_ ? back : before, gather,
                            factor.array);
        }
        if (!is_first) b_.emit(Product::combine, b_.plan.gradients[a], target, 1.0);
    }

    const Chain& chain_;
    ResidualBy by_;
    bool has_step_rule_;
    Purpose purpose_;
    bool from_output_;
    int n_factors_;
    std::vector<int> users_;
    std::vector<char> begun_;
    Builder b_;
};

Plan make_plan(const Chain& chain, ResidualBy by, Purpose purpose, bool has_step_rule = false) {
    if (!chain.is_dense()) return ChainBuilder(chain, by, has_step_rule, purpose).build();
    std::vector<Index> widths{chain.n_inputs()};
    for (const Factor& factor : chain.factors) widths.push_back(factor.rows);
    return dense_plan(widths, by, has_step_rule, purpose);
}

}  // namespace

Chain Chain::dense(const std::vector<Index>& widths) {
    Chain chain;
    for (std::size_t l = 0; l + 1 < widths.size(); ++l) {
        Factor factor;
        factor.rows = widths[l + 1];
        factor.cols = widths[l];
        factor.array = static_cast<int>(l);
        factor.dense = true;
        chain.factors.push_back(std::move(factor));
        chain.sizes.push_back(widths[l + 1] * widths[l]);
    }
    return chain;
}

bool Chain::is_dense() const {
    int next = 0;
    for (const Factor& factor : factors) {
        if (!factor.dense || factor.array != next++ || factor.plus_identity || factor.scale != 1)
            return false;
    }
    return true;
}

Index Plan::inner(const Operation& operation) const {
    if (operation.a < 0 || operation.kind == Product::combine || operation.kind == Product::copy ||
        operation.kind == Product::update_by || operation.kind == Product::residual_diagonal ||
        is_of_loss(operation.kind))
        return 1;
    const Matrix& a = matrices[static_cast<std::size_t>(operation.a)];
    const bool a_transposed =
        operation.kind == Product::store_tn || operation.kind == Product::update_tn;
    return a_transposed ? a.rows : a.cols;
}

double Plan::multiply_adds(const Operation& operation) const {
    if (is_pattern(operation.kind)) {
        const Index n_vectors = std::min(n_inputs(), n_outputs());
        const Gather& gather = gathers[static_cast<std::size_t>(operation.gather)];
        return static_cast<double>(gather.n_entries()) * static_cast<double>(n_vectors);
    }
    const Matrix& c = matrices[static_cast<std::size_t>(operation.c)];
    return static_cast<double>(c.rows) * static_cast<double>(c.cols) *
           static_cast<double>(inner(operation));
}

double Plan::multiply_adds() const {
    double total = 0;
    for (const Operation& operation : operations) total += multiply_adds(operation);
    return total;
}

Plan training_plan(const Chain& chain, ResidualBy by, bool has_step_rule) {
    return make_plan(chain, by, Purpose::step, has_step_rule);
}

Plan gradient_plan(const Chain& chain, ResidualBy by) {
    return make_plan(chain, by, Purpose::look);
}

Plan slope_plan(const Chain& chain, ResidualBy by) { return make_plan(chain, by, Purpose::slope); }

}  // namespace linnet
