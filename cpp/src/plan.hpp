// A training step, or a gradient, of a chain of dense layers as a list of matrix products.
//
// The list knows nothing of instruction sets, layouts or number types: each machine (lanes, direct) turns it into
// calls of its own kernels. It is the one place where the mathematics of the chain is written down.
#pragma once

#include <utility>
#include <vector>

#include "linnet/train.hpp"

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
};

struct Operation {
    Product kind;
    int c, a, b;  ///< matrix numbers
    int layer;    ///< of an update
};

struct Plan {
    struct Matrix {
        Index rows, cols;
        int storage;  ///< matrices that never live together share one
    };
    std::vector<Matrix> matrices;
    int n_storages = 0;
    std::vector<Operation> operations;
    std::vector<int> weights;              ///< matrix number per layer
    std::vector<int> gradients;            ///< the same, in a gradient or slope plan
    std::vector<int> gradient_operations;  ///< which operation gives each, in a slope plan
    int residual_power = -1;               ///< in a slope plan: (R^T R)^2 or (R R^T)^2
    /// In a gradient plan, per pair of neighbours: W_{l+1}^T W_{l+1} and W_l W_l^T.
    std::vector<std::pair<int, int>> grams;
    int product = 0;               ///< end-to-end matrix, lives until the residual is done
    int residual = 0;              ///< dloss / dproduct
    std::size_t product_end = 0;   ///< operations before this one give the product
    std::size_t residual_end = 0;  ///< operations before this one give the residual
    std::size_t gradient_end =
        0;  ///< operations before this one give the gradients, the rest grams or the residual's power

    Index n_layers() const { return static_cast<Index>(weights.size()); }
    Index n_inputs() const { return matrices[static_cast<std::size_t>(weights.front())].cols; }
    Index n_outputs() const { return matrices[static_cast<std::size_t>(weights.back())].rows; }
    Index inner(const Operation& operation) const;  ///< terms per entry
    double multiply_adds() const;
};

/// One step of gradient descent; the weights are updated in place.
Plan training_plan(const std::vector<Index>& widths, bool diagonal_cov);

/// Product, residual, the gradient of the loss by every layer, and grams; everything stays to be looked at.
Plan gradient_plan(const std::vector<Index>& widths, bool diagonal_cov);

/// The gradient of the loss by every layer, to be written where the machine is told; the residual stays to be looked at.
Plan slope_plan(const std::vector<Index>& widths, bool diagonal_cov);

}  // namespace linnet
