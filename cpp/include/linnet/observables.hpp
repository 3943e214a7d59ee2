// What can be recorded of a run.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "linnet/chain.hpp"
#include "linnet/index.hpp"
#include "linnet/loss.hpp"

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

/// What gradient flow conserves between an array of weights and the next: above_factor W W^T -
/// below_factor V V^T of n_sets pairs of matrices W and V, of n_units rows each, that are made of
/// weights, and of fixed numbers beside these.
struct Balance {
    struct Side {
        std::vector<Index> weights;  ///< (n_sets, n_units, length): places in the array
        std::vector<double> shifts;  ///< as many
        Index length = 0;
        double factor = 1;
    };
    Index pair = 0;  ///< the array below
    Index n_sets = 0, n_units = 0;
    Side below, above;
};

/// An observable that takes parameters, with them.
struct Measure {
    std::size_t kind = 0;  ///< place in measures()
    Index count = 1;       ///< how many of its numbers; 0: a single one, without an axis
    bool both = false;     ///< from both ends of a spectrum
    double power = 1;
    std::vector<RunArray<double>> arrays;  ///< what runs are compared with
    std::vector<Balance> balances;
    std::optional<LossData> loss;  ///< of another loss than that of the training
    /// Are kernels those of what the loss measures of products, and not of outputs for inputs?
    bool of_measurements = false;
    /// Scalars: at or below, or above, which a run ends; no data: no such rule.
    RunArray<double> below, above;

    bool stops() const { return below.data != nullptr || above.data != nullptr; }
};

/// What such an observable says of itself, in src/observables/measures.hpp.
struct MeasureDeclaration {
    const char* name;
    std::vector<Index> (*shape)(const Chain&, const Measure&);  ///< of one record
    /// Inner shapes of its arrays; null: it has none.
    std::vector<std::vector<Index>> (*arrays)(const Chain&, const Measure&) = nullptr;
    bool needs_directions = false;       ///< a plan that moves the weights along them
    bool needs_curvature = false;        ///< a loss that has one
    bool needs_singular_values = false;  ///< of the product
    bool needs_balances = false;
    bool needs_samples = false;  ///< a loss of its own that is made of some
    bool needs_scales = false;   ///< what the method divides gradients by
};

/// All of these.
const std::vector<MeasureDeclaration>& measures();

/// How many numbers a measure has.
Index size_of(const Measure& one, const Chain& chain);

/// Place in that list; std::invalid_argument if it is not there.
std::size_t measure_of(const std::string& name);

}  // namespace linnet
