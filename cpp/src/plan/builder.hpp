// What builds the plans of dense and of other chains alike.
#pragma once

#include <algorithm>
#include <vector>

#include "plan/plan.hpp"

namespace linnet {

/// What the gradients are for: to move the weights at once, to be stored for an update policy, to
/// be looked at with all that leads to them, or to be the slopes of a flow.
enum class Purpose { step, update, look, slope };

/// A plan in the making.
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
    }
    /// What is kept of every layer, right after the weights.
    void add_memories(int n_memories) {
        for (int k = 0; k < n_memories; ++k) {
            for (const int id : plan.weights) {
                const Plan::Matrix shape = (*this)[id];
                plan.memories.push_back(add(shape.rows, shape.cols));
            }
        }
    }
    /// All layers by their stored gradients.
    void emit_updates() {
        for (std::size_t l = 0; l < plan.weights.size(); ++l) {
            emit(Product::update_stored, plan.weights[l], plan.gradients[l], -1,
                 static_cast<int>(l));
        }
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

/// feeds_back: errors pass back through the last memories, in place of the weights.
Plan dense_plan(const std::vector<Index>& widths, ResidualBy by, bool has_step_rule,
                Purpose purpose, int n_memories, bool feeds_back);

/// Of a chain of any factors.
Plan chain_plan(const Chain& chain, ResidualBy by, bool has_step_rule, Purpose purpose,
                int n_memories);

}  // namespace linnet
