// The observables: which are wanted, and where they are written.
#pragma once

namespace linnet {

/// Which observables are wanted.
struct Wanted {
    bool loss = false;
    bool singular_values = false;
    bool product = false;
    bool layer_norms = false;
    bool imbalance = false;
    bool gradient_norm = false;
    bool margin = false;
    bool direction = false;      ///< angle or norm of the product
    bool layer_vectors = false;  ///< what needs singular vectors of the layers

    bool any() const {
        return loss || singular_values || product || layer_norms || imbalance || gradient_norm ||
               margin || direction || layer_vectors;
    }
    Wanted with(const Wanted& b) const {
        return {loss || b.loss,
                singular_values || b.singular_values,
                product || b.product,
                layer_norms || b.layer_norms,
                imbalance || b.imbalance,
                gradient_norm || b.gradient_norm,
                margin || b.margin,
                direction || b.direction,
                layer_vectors || b.layer_vectors};
    }
};

/// Where a probe writes for one run; null: not wanted.
struct ObservedArrays {
    double* singular_values = nullptr;
    double* product = nullptr;
    double* layer_norms = nullptr;
    double* imbalance = nullptr;
    double* angle = nullptr;
    double* log_tan_half_angle = nullptr;
    double* norm = nullptr;
    double* margin = nullptr;
    double* layer_singular_ratio = nullptr;
    double* layer_alignment = nullptr;

    bool wants_direction() const {
        return angle != nullptr || log_tan_half_angle != nullptr || norm != nullptr;
    }
    bool wants_layer_vectors() const {
        return layer_singular_ratio != nullptr || layer_alignment != nullptr;
    }
};

}  // namespace linnet
