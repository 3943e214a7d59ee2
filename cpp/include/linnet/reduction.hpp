// What a training of dense layers moves: the subspaces of its inputs and hidden spaces that its weights
// ever act in. The rest stays as it is, so the small chain inside them trains as the large one does.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "linnet/index.hpp"

namespace linnet {

/// Where to look for the subspaces of a chain of widths (h_0, ..., h_L), run by run.
struct SubspaceProblem {
    std::vector<Index> run_shape;
    std::vector<Index> widths;
    std::vector<RunArray<double>> weights;  ///< (h_l, h_{l-1}), C order
    /// Orthonormal columns (h_0, n_seen) that span what the loss sees of the inputs; no data: all.
    RunArray<double> seen;
    Index n_seen;
    Index most;  ///< dimensions of a hidden subspace; a run that needs more has none

    /// Columns of the basis of hidden space l: no wider than inputs and outputs, it is left whole.
    Index room(std::size_t l) const {
        return std::min(widths[l], std::max(most, n_seen + widths.back()));
    }
};

/// Orthonormal bases, run by run: of hidden space l (h_l, room(l)) in hidden[l - 1], its first
/// ranks[l] columns, the others 0; of what the last weights see of the inputs besides those that the
/// loss sees (h_0, min(h_0 - n_seen, most)) in unseen, if there is such a thing, its first ranks[0].
/// ranks (L per run) are -1 in a run without small subspaces.
///
/// Closed under the layers and their transposes up to the rounding of these products, entry by entry:
/// the subspaces are exact for weights that differ by a few units in the last place. Entries of 0 stay
/// 0, so a direction counts however small the weights along it are.
struct Subspaces {
    std::vector<double*> hidden;
    double* unseen;
    std::int64_t* ranks;
};

void find_subspaces(const SubspaceProblem& problem, const Subspaces& out, const Control& control);

}  // namespace linnet
