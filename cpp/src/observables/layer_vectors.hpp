// How near to rank one the layers of a dense chain are, and how well neighbours are aligned.
#pragma once

#include <functional>
#include <utility>
#include <vector>

#include "linnet/index.hpp"

namespace linnet {

struct LayerVectors {
    std::vector<double> ratios;  ///< the second over the first singular value of each layer
    /// Of neighbours: the absolute cosine between the first left singular vector of the lower and
    /// the first right one of the upper.
    std::vector<double> cosines;
};

/// Of layers with shapes (rows, cols), the first of which sees the input. Where `pulse` asks to
/// stop, NaN stand for the rest.
LayerVectors layer_vectors_of(const std::vector<std::pair<Index, Index>>& shapes,
                              const std::vector<std::vector<double>>& layers,
                              const std::function<bool()>& pulse);

}  // namespace linnet
