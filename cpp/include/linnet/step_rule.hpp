// Step sizes of gradient descent that change from step to step.
#pragma once

namespace linnet {

/// What the step size is, of a run with parameters `scale` and `exponent` after n steps. Numbers as
/// in Python's linnet_fast.step_rule.
enum class StepKind : int {
    constant = 0,             ///< scale
    power = 1,                ///< scale (n + 1)^exponent
    geometric = 2,            ///< scale exponent^n
    loss_normalized = 3,      ///< scale / loss
    norm_proportional = 4,    ///< scale |P|, the Frobenius norm of the end-to-end matrix
    gradient_normalized = 5,  ///< scale / |dloss/dP|
    /// scale r / q(r) with r = |P|, of a spherically symmetric law: aligned in one step.
    alignment = 6,
};

}  // namespace linnet
