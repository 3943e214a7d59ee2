#include <algorithm>
#include <utility>

#include "plan/builder.hpp"
#include "plan/gather.hpp"

namespace linnet {

namespace {

/// The chain is multiplied up from one side, whose matrices have few rows
/// (from the output) or few columns (from the input); what comes back from the other side has the
/// same shape.
class ChainBuilder {
public:
    ChainBuilder(const Chain& chain, ResidualBy by, bool has_step_rule, Purpose purpose,
                 int n_memories)
        : chain_(chain),
          by_(by),
          has_step_rule_(has_step_rule),
          purpose_(purpose),
          n_memories_(n_memories),
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
        // Step by step from the narrow side; side(k) is what lies between the narrow end and the
        // k-th factor from there.
        std::vector<int> side(static_cast<std::size_t>(n_factors_) + 1, -1);
        const bool share = purpose_ != Purpose::look;
        const int turns[2] = {share ? b_.plan.n_storages++ : -1, share ? b_.plan.n_storages++ : -1};
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
                                    share && purpose_ != Purpose::slope ? turns[1] : -1);
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
        if (purpose_ == Purpose::update) b_.emit_updates();
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
        b_.add_memories(n_memories_);
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

    /// The gradient by the weights of a factor, from what lies before it and what comes back to it:
    /// used at once, or added to those of the other factors that share its weights.
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
    int n_memories_;
    bool from_output_;
    int n_factors_;
    std::vector<int> users_;
    std::vector<char> begun_;
    Builder b_;
};

}  // namespace

Plan chain_plan(const Chain& chain, ResidualBy by, bool has_step_rule, Purpose purpose,
                int n_memories) {
    return ChainBuilder(chain, by, has_step_rule, purpose, n_memories).build();
}

}  // namespace linnet
