// Steps that are scaled entry by entry, or layer by layer, by the gradients that were.
#pragma once

#include <cmath>

#include "linnet/index.hpp"
#include "updates/policy.hpp"
#include "updates/root_quotient.hpp"

namespace linnet {

/// m and a are means of g and g^2 with weights beta^age, corrected for their start at 0; w -= step
/// m / (sqrt(a) + eps). keeps_largest: with the largest a so far.
template <bool keeps_largest>
struct AdamOf : Policy {
    static constexpr const char* name = keeps_largest ? "amsgrad" : "adam";
    static constexpr int n_memories = keeps_largest ? 3 : 2;
    static constexpr std::array<const char*, 3> parameters{"beta1", "beta2", "eps"};
    static constexpr int n_powers = 2;
    static constexpr int n_factors = 4;
    static constexpr bool divides = true;

    static void find_factors(const double* parameter, const double* power, double /*n*/,
                             double* factor) {
        factor[0] = 1 - parameter[0];
        factor[1] = 1 - parameter[1];
        factor[2] = 1 / (1 - power[0]);
        factor[3] = 1 / std::sqrt(1 - power[1]);
    }
    static void find_scales(const double* parameter, double n, const double* memory, Index size,
                            double* scale) {
        const double of_mean = 1 - std::pow(parameter[0], n);
        const double of_squares = 1 - std::pow(parameter[1], n);
        const double* const squares = memory + (n_memories - 1) * size;
        for (Index i = 0; i < size; ++i)
            scale[i] = of_mean * (std::sqrt(squares[i] / of_squares) + parameter[2]);
    }
    template <class V>
    static V apply(V weight, V gradient, V* memory, V step, const V* number,
                   const int* /*choice*/) {
        memory[0] = fma(number[3], gradient - memory[0], memory[0]);
        memory[1] = fma(number[4] * gradient, gradient, number[1] * memory[1]);
        V square = memory[1];
        if constexpr (keeps_largest) {
            memory[2] = select(less(memory[2], square), square, memory[2]);
            square = memory[2];
        }
        const V move = root_quotient(number[5] * memory[0], square, number[6], number[2]);
        return fma(-step, move, weight);
    }
};

/// sqrt(a) + eps.
inline void find_root_scales(double initial, double eps, const double* squares, Index size,
                             double* scale) {
    for (Index i = 0; i < size; ++i) scale[i] = std::sqrt(initial + squares[i]) + eps;
}

using Adam = AdamOf<false>;
using AmsGrad = AdamOf<true>;

/// a is the mean of g^2 with weights alpha^age, or of the mean of g^2 over the layer; w -= step u
/// with u = g / (sqrt(a) + eps), or with momentum w -= step b, b = momentum b + u.
template <bool by_layer, bool remembers>
struct RmsPropOf : Policy {
    static constexpr const char* name =
        by_layer    ? remembers ? "rmsprop_by_layer_with_momentum" : "rmsprop_by_layer"
        : remembers ? "rmsprop_with_momentum"
                    : "rmsprop";
    static constexpr int n_memories = remembers ? 2 : 1;
    static constexpr std::array<const char*, 3> parameters{"alpha", "eps", "momentum"};
    static constexpr int n_factors = 1;
    static constexpr bool sees_mean_square = by_layer;
    static constexpr bool divides = true;

    static void find_factors(const double* parameter, const double* /*power*/, double /*n*/,
                             double* factor) {
        factor[0] = 1 - parameter[0];
    }
    static void find_scales(const double* parameter, double /*n*/, const double* memory, Index size,
                            double* scale) {
        find_root_scales(0, parameter[1], memory, size, scale);
    }
    template <class V>
    static V apply(V weight, V gradient, V* memory, V step, const V* number,
                   const int* /*choice*/) {
        if constexpr (by_layer) {
            memory[0] = fma(number[3], number[4], number[0] * memory[0]);
        } else {
            memory[0] = fma(number[3] * gradient, gradient, number[0] * memory[0]);
        }
        V move = root_quotient(gradient, memory[0], broadcast<V>(1), number[1]);
        if constexpr (remembers) move = memory[1] = fma(number[2], memory[1], move);
        return fma(-step, move, weight);
    }
};

/// a is the variance of g with weights alpha^age, m its mean; steps as of RmsPropOf. The difference
/// of the mean of g^2 and m^2 could fall below 0.
template <bool remembers>
struct CenteredRmsPropOf : Policy {
    static constexpr const char* name =
        remembers ? "rmsprop_centered_with_momentum" : "rmsprop_centered";
    static constexpr int n_memories = remembers ? 3 : 2;
    static constexpr std::array<const char*, 3> parameters{"alpha", "eps", "momentum"};
    static constexpr int n_factors = 2;
    static constexpr bool divides = true;

    static void find_factors(const double* parameter, const double* /*power*/, double /*n*/,
                             double* factor) {
        factor[0] = 1 - parameter[0];
        factor[1] = parameter[0] * factor[0];
    }
    static void find_scales(const double* parameter, double /*n*/, const double* memory, Index size,
                            double* scale) {
        find_root_scales(0, parameter[1], memory, size, scale);
    }
    template <class V>
    static V apply(V weight, V gradient, V* memory, V step, const V* number,
                   const int* /*choice*/) {
        const V apart = gradient - memory[1];
        memory[0] = fma(number[4] * apart, apart, number[0] * memory[0]);
        memory[1] = fma(number[3], apart, memory[1]);
        V move = root_quotient(gradient, memory[0], broadcast<V>(1), number[1]);
        if constexpr (remembers) move = memory[2] = fma(number[2], memory[2], move);
        return fma(-step, move, weight);
    }
};

/// a is the sum of all g^2; w -= step / (1 + (n - 1) decay) g / (sqrt(initial + a) + eps).
struct Adagrad : Policy {
    static constexpr const char* name = "adagrad";
    static constexpr int n_memories = 1;
    static constexpr std::array<const char*, 3> parameters{"initial", "eps", "step_decay"};
    static constexpr int n_factors = 1;
    static constexpr bool divides = true;

    static void find_factors(const double* parameter, const double* /*power*/, double n,
                             double* factor) {
        factor[0] = 1 / (1 + (n - 1) * parameter[2]);
    }
    static void find_scales(const double* parameter, double n, const double* memory, Index size,
                            double* scale) {
        find_root_scales(parameter[0], parameter[1], memory, size, scale);
        for (Index i = 0; i < size; ++i) scale[i] *= 1 + (n - 1) * parameter[2];
    }
    template <class V>
    static V apply(V weight, V gradient, V* memory, V step, const V* number,
                   const int* /*choice*/) {
        memory[0] = fma(gradient, gradient, memory[0]);
        const V move = root_quotient(gradient, number[0] + memory[0], broadcast<V>(1), number[1]);
        return fma(-(step * number[3]), move, weight);
    }
};

}  // namespace linnet
