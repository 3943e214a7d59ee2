// What a loss that is not made of second moments knows of its samples, and how samples are drawn.
#pragma once

#include <cstdint>
#include <type_traits>
#include <vector>

#include "linnet/index.hpp"
#include "linnet/spherical.hpp"

namespace linnet {

enum class LossKind : std::int8_t { squared = 0, logistic = 1, exponential = 2, spherical = 3 };

/// What a loss of a network of one output knows of the samples x with labels y = 1 or -1.
struct LossData {
    LossKind kind = LossKind::squared;
    std::vector<Index> run_shape;

    /// y x of samples, (in, stride): those of one feature side by side, padded with zeros
    RunArray<double> inputs;
    RunArray<float> single_inputs;  ///< the same, of runs in single precision
    Index n_samples = 0, stride = 0;

    SphericalTable law;
    RunArray<double> direction;  ///< (in), of norm 1: labels are its sides

    RunArray<double> label_noise;  ///< scalar: how likely a label is the other one; no data: never
    bool has_noise = false;

    template <class T>
    const T* inputs_of(Index run) const {
        if constexpr (std::is_same_v<T, float>) {
            return single_inputs.at(run, run_shape);
        } else {
            return inputs.at(run, run_shape);
        }
    }
    double noise(Index run) const {
        return label_noise.data == nullptr ? 0 : *label_noise.at(run, run_shape);
    }
};

enum class LawKind : std::int8_t { gaussian = 0, sphere = 1, ball = 2, mixture = 3 };

/// Samples that are drawn anew for every step: of the law of a spherical loss, or of its data.
struct Draws {
    Index batch_size = 0;
    std::uint64_t seed = 0;
    RunArray<std::int64_t> stream;  ///< scalar, 32 bits
    LawKind law = LawKind::gaussian;
    std::vector<double> radii;       ///< scale or radius; of a mixture one per component
    std::vector<double> cumulative;  ///< of a mixture: probability of this radius or one before it
};

}  // namespace linnet
