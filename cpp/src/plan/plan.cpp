#include "plan/plan.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

#include "plan/builder.hpp"

namespace linnet {

namespace {

Plan make_plan(const Chain& chain, ResidualBy by, Purpose purpose, bool has_step_rule = false,
               int n_memories = 0, bool feeds_back = false) {
    if (!chain.is_dense()) return chain_plan(chain, by, has_step_rule, purpose, n_memories);
    std::vector<Index> widths{chain.n_inputs()};
    for (const Factor& factor : chain.factors) widths.push_back(factor.rows);
    return dense_plan(widths, by, has_step_rule, purpose, n_memories, feeds_back);
}

/// Between gradients and updates: up the gradient, the gradients there, and back.
void add_climb(Plan& plan) {
    const auto gradients_end =
        plan.operations.begin() + static_cast<std::ptrdiff_t>(plan.gradient_end);
    std::vector<Operation> more;
    std::vector<int> spare;
    for (std::size_t l = 0; l < plan.weights.size(); ++l) {
        Plan::Matrix shape = plan.matrices[static_cast<std::size_t>(plan.weights[l])];
        shape.storage = plan.n_storages++;
        spare.push_back(static_cast<int>(plan.matrices.size()));
        plan.matrices.push_back(shape);
        more.push_back(
            {Product::add_square, plan.weights[l], plan.gradients[l], -1, static_cast<int>(l)});
    }
    for (std::size_t l = 0; l < plan.weights.size(); ++l) {
        more.push_back(
            {Product::climb, plan.weights[l], plan.gradients[l], spare[l], static_cast<int>(l)});
    }
    std::copy_if(plan.operations.begin(), gradients_end, std::back_inserter(more),
                 [](const Operation& o) { return o.kind != Product::set_steps; });
    for (std::size_t l = 0; l < plan.weights.size(); ++l)
        more.push_back({Product::go_back, plan.weights[l], spare[l], -1, static_cast<int>(l)});
    plan.operations.insert(gradients_end, more.begin(), more.end());
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
        is_steered(operation.kind))
        return 1;
    const Matrix& a = matrices[static_cast<std::size_t>(operation.a)];
    const bool a_transposed =
        operation.kind == Product::store_tn || operation.kind == Product::update_tn;
    return a_transposed ? a.rows : a.cols;
}

bool Plan::has_moments() const {
    return std::any_of(operations.begin(), operations.end(), [](const Operation& operation) {
        return operation.kind == Product::residual || operation.kind == Product::residual_diagonal;
    });
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

Plan training_plan(const Chain& chain, ResidualBy by, bool has_step_rule, Kept kept) {
    const Purpose purpose = kept.gradients ? Purpose::update : Purpose::step;
    Plan plan = make_plan(chain, by, purpose, has_step_rule, kept.memories, kept.feeds_back);
    if (kept.climbs) add_climb(plan);
    for (std::size_t l = 0; kept.noise && l < plan.weights.size(); ++l) {
        plan.operations.push_back(
            {Product::add_noise, plan.weights[l], plan.weights[l], -1, static_cast<int>(l)});
    }
    return plan;
}

Plan gradient_plan(const Chain& chain, ResidualBy by) {
    Plan plan = make_plan(chain, by, Purpose::look);
    plan.gram_end = plan.operations.size();
    return plan;
}

Plan slope_plan(const Chain& chain, ResidualBy by) { return make_plan(chain, by, Purpose::slope); }

}  // namespace linnet
