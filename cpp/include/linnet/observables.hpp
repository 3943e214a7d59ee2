// What can be recorded of a run.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "linnet/chain.hpp"
#include "linnet/index.hpp"

namespace linnet {

/// What an observable says of itself, in src/observables/list.hpp.
struct ObservableDeclaration {
    const char* name;
    /// Of one record; null: the weights themselves, in their own shapes and numbers.
    std::vector<Index> (*shape)(const Chain&);
    bool needs_one_output;
    bool needs_direction;
    bool needs_dense_layers;
    bool needs_margins;  ///< of the loss
    bool of_loss;        ///< of a loss and the product: any loss can be looked at by it
};

/// All observables there are.
const std::vector<ObservableDeclaration>& observables();

/// Place of an observable in that list; std::invalid_argument if it is not there.
std::size_t observable_of(const std::string& name);

}  // namespace linnet
