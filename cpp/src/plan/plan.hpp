// A training step, or a gradient, of a chain of layers as a list of matrix products.
//
// The list knows nothing of instruction sets, layouts or number types: each machine (lanes, direct)
// turns it into calls of its own kernels. It is the one place where the mathematics of the chain is
// written down.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "linnet/chain.hpp"

namespace linnet {

/// Forms of C <- f(A B). "tn": A is transposed, "nt": B is.
enum class Product {
    store,              ///< C = A B
    store_tn,           ///< C = A^T B
    store_nt,           ///< C = A B^T
    update_tn,          ///< C -= step (A^T B + decay C)
    update_nt,          ///< C -= step (A B^T + decay C)
    update_by,          ///< C -= step (A + decay C)
    residual,           ///< C = A input_cov - cross_cov
    residual_diagonal,  ///< the same for a diagonal input_cov: the terms left out are exact zeros
    residual_by_loss,   ///< C = dloss / dA, by the loss itself
    curvature_by_loss,  ///< C = the derivative of dloss / dA along B, by the loss itself
    set_steps,          ///< the step sizes of this step, from the product A and the residual C
    update_stored,      ///< C and what is kept of it, by an update policy, from the gradient A
    add_noise,          ///< C += normal noise
    add_square,  ///< the sum of squares of the gradient A is added to that of the arrays before
    climb,       ///< B = C, C += radius A / |gradient|, with the gradient A
    go_back,     ///< C = A
    combine,     ///< C = A + factor C, entry by entry
    copy,        ///< C = factor A
    pattern,     ///< C = A M, or M A, with a factor M given by its entries; weights in B
    /// C = the gradient by the weights of such a factor, from both sides A and B
    pattern_gradient,
    pattern_update,  ///< C -= step (that gradient + decay C)
};

inline bool is_pattern(Product kind) {
    return kind == Product::pattern || kind == Product::pattern_gradient ||
           kind == Product::pattern_update;
}

/// Operations that are done by what a machine follows beside its plan.
inline bool is_steered(Product kind) {
    return kind == Product::residual_by_loss || kind == Product::curvature_by_loss ||
           kind == Product::set_steps || kind == Product::update_stored ||
           kind == Product::add_noise || kind == Product::add_square || kind == Product::climb ||
           kind == Product::go_back;
}

/// Operations that go through their operands entry by entry, not by blocks.
inline bool is_elementwise(Product kind) {
    return kind == Product::update_by || kind == Product::residual_diagonal || is_steered(kind) ||
           kind == Product::combine || kind == Product::copy || is_pattern(kind);
}

/// Entries of a factor, gathered by what they add to: a row or column of a product, or a weight.
/// Vectors of a matrix are its columns if the chain is multiplied from the output, else its rows.
struct Gather {
    Index n_targets = 0;
    std::vector<std::int32_t> start;  ///< entries of target t: start[t] ... start[t + 1] - 1
    std::vector<std::int32_t> from;   ///< vector of A
    std::vector<std::int32_t> other;  ///< place among the weights; or, by weight, vector of B
    std::vector<double> coefficient;  ///< empty: all are 1
    std::vector<std::int32_t> fixed_start, fixed_from;  ///< entries without a weight, likewise
    std::vector<double> fixed;

    Index n_entries() const { return static_cast<Index>(from.size() + fixed_from.size()); }
};

struct Operation {
    Product kind;
    int c, a, b;        ///< matrix numbers; -1: none
    int layer;          ///< of an update
    double factor = 1;  ///< of combine and copy
    int gather = -1;    ///< of a pattern
};

struct Plan {
    struct Matrix {
        Index rows, cols;
        int storage;  ///< matrices that never live together share one
    };
    std::vector<Matrix> matrices;
    int n_storages = 0;
    std::vector<Operation> operations;
    std::vector<int> weights;    ///< matrix number per layer
    std::vector<int> memories;   ///< the first that is kept of every layer, then the second ...
    std::vector<int> gradients;  ///< the same, where they are stored
    std::vector<std::vector<int>>
        gradient_operations;  ///< which operations write each, in a slope plan
    int residual_power = -1;  ///< in a slope plan: (R^T R)^2 or (R R^T)^2
    /// In a gradient plan of a dense chain, per pair of neighbours: W_{l+1}^T W_{l+1} and W_l
    /// W_l^T.
    std::vector<std::pair<int, int>> grams;
    int product = 0;              ///< end-to-end matrix, lives until the residual is done
    int residual = 0;             ///< dloss / dproduct
    std::size_t product_end = 0;  ///< operations before this one give the product
    /// Operations before this one give the gradients; the rest updates, grams, or the residual's
    /// power.
    std::size_t gradient_end = 0;
    std::size_t gram_end = 0;  ///< of a gradient plan: operations before this one give the grams
    /// In a curvature plan: along which the weights move, side by side, and how the gradients do.
    std::vector<int> directions, curvatures;
    int product_tangent = -1;  ///< how the product moves
    /// Operations tangent_begin ... tangent_end - 1 make that one, those up to curvature_end the
    /// curvatures.
    std::size_t tangent_begin = 0, tangent_end = 0, curvature_end = 0;

    /// For the size of a factor: its mean square singular value is offset + |weights|^2 / rank.
    struct Size {
        int array;  ///< -1: no weights
        double rank, offset;
    };
    std::vector<Size> factors;
    std::vector<Gather> gathers;
    bool vectors_are_columns = true;  ///< of matrices that patterns act on
    int identity = -1;                ///< a matrix to be filled with the identity; -1: none

    Index n_layers() const { return static_cast<Index>(weights.size()); }
    /// What lasts from step to step: the weights, then the memories. Their storages come first and
    /// side by side, each memory's as far behind as that of all weights is large.
    Index n_persistent() const { return static_cast<Index>(weights.size() + memories.size()); }
    int persistent(Index k) const {
        return k < n_layers() ? weights[static_cast<std::size_t>(k)]
                              : memories[static_cast<std::size_t>(k - n_layers())];
    }
    /// Where each storage begins, and last where they end, if a matrix takes size(matrix).
    template <class F>
    std::vector<Index> storage_offsets(F size) const {
        std::vector<Index> offsets(static_cast<std::size_t>(n_storages) + 1, 0);
        for (const Matrix& matrix : matrices) {
            Index& end = offsets[static_cast<std::size_t>(matrix.storage) + 1];
            end = std::max(end, size(matrix));
        }
        std::partial_sum(offsets.begin(), offsets.end(), offsets.begin());
        return offsets;
    }
    Index n_memories() const { return n_layers() == 0 ? 0 : n_persistent() / n_layers() - 1; }
    Index n_inputs() const { return matrices[static_cast<std::size_t>(product)].cols; }
    Index n_outputs() const { return matrices[static_cast<std::size_t>(product)].rows; }
    Index inner(const Operation& operation) const;  ///< terms per entry of a matrix product
    /// Does the residual come from second moments?
    bool has_moments() const;
    double multiply_adds(const Operation& operation) const;
    double multiply_adds() const;
};

/// Where the residual comes from.
enum class ResidualBy { moments, diagonal_moments, loss };

/// What an update policy wants a plan to keep.
struct Kept {
    bool gradients = false;  ///< of all layers before any weight moves; else none is stored
    int memories = 0;        ///< per layer
    bool noise = false;      ///< whether noise is added to all weights in the end
    bool climbs = false;     ///< whether the stored gradients are those a step up the gradient
    /// Whether errors pass back through the last memories, in place of the weights; of dense chains.
    bool feeds_back = false;
};

/// One step of gradient descent; the weights are updated in place. has_step_rule: step sizes are
/// set in every step.
Plan training_plan(const Chain& chain, ResidualBy by, bool has_step_rule = false, Kept kept = {});

/// Product, residual, the gradient of the loss by every layer, and grams; everything stays to be
/// looked at.
Plan gradient_plan(const Chain& chain, ResidualBy by);

/// The same, and the Hessian of the loss times a direction: the gradient plan, differentiated.
Plan curvature_plan(const Chain& chain, ResidualBy by);

/// The gradient of the loss by every layer, to be written where the machine is told; the residual
/// stays to be looked at.
Plan slope_plan(const Chain& chain, ResidualBy by);

}  // namespace linnet
