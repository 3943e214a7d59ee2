// How near to rank one the layers of a dense chain are, and how well neighbours are aligned.
#pragma once

#include <utility>
#include <vector>

#include "linnet/index.hpp"

namespace linnet {

class LayerVectors {
public:
    /// Layers (rows, cols), the first one sees the input.
    explicit LayerVectors(std::vector<std::pair<Index, Index>> shapes)
        : shapes_(std::move(shapes)) {}

    /// ratios: the second over the first singular value of each layer. alignments: of neighbours,
    /// the absolute cosine between the first left singular vector of the lower and the first right
    /// one of the upper. Null: not wanted.
    void write(const std::vector<const double*>& layers, double* ratios, double* alignments) const;

private:
    std::vector<std::pair<Index, Index>> shapes_;
};

}  // namespace linnet
