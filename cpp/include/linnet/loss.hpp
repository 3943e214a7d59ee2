// Losses of the end-to-end matrix: what each says of itself, the data of one, and how samples are
// drawn.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "linnet/index.hpp"
#include "linnet/spherical.hpp"

namespace linnet {

/// An axis of a loss's array, behind those of the runs. Samples are as many as a loss likes, the
/// same in all of its arrays.
enum class LossAxis { input, output, sample };

/// A field of a loss.
struct LossField {
    enum class Type {
        array,         ///< in double precision
        single_array,  ///< in single precision: runs in single precision need it, others do not
        places,        ///< an array of whole numbers of 64 bits
        count,         ///< a whole number, at least 1
        law,           ///< the table of a spherically symmetric law
        function,      ///< one that the user has written
    };
    const char* name;
    Type type;
    std::vector<LossAxis> axes{};  ///< of an array
    bool is_optional = false;
};

struct LossData;

/// A loss that the user has written.
struct LossFunction {
    /// Values (n) and gradients (n, out, in) of n products (n, out, in), for parameters (n, count) of
    /// their runs; gradients hold zeros. Any worker may call it. What it throws ends the training.
    std::function<void(Index n, const double* products, const double* parameters, double* values,
                       double* gradients)>
        call;
    /// A call costs much beside what it does for a product: as many go together as there are.
    bool takes_many = false;
};

/// Second moments: the residual of a product P is P input_cov - cross_cov.
struct Moments {
    RunArray<double> input_cov;  ///< (in, in)
    RunArray<double> cross_cov;  ///< (out, in)
};

/// What a loss says of itself, in src/losses.
struct LossDeclaration {
    const char* name;
    std::vector<LossField> fields;
    bool needs_one_output = false;
    bool has_margins = false;   ///< and so an accuracy
    bool has_curvature = true;  ///< the residual has a derivative that is known
    bool can_draw = false;      ///< samples can be drawn anew for every step
    bool draws_fresh = false;   ///< of a law, with replacement
    bool is_called = false;     ///< it calls what the user has written, however long that takes
    /// Throws std::invalid_argument unless the fields fit each other; null: there is nothing to
    /// ask.
    void (*check)(const LossData&) = nullptr;
    /// What part of the work of a residual a group of runs has where they do it together; null: all
    /// of it, one run's after the other's.
    double (*work_together)(const LossData&) = nullptr;
    /// Is it worth while to have more runs side by side than a machine would, for it takes all of
    /// them at once? Null: it is not.
    bool (*takes_many)(const LossData&) = nullptr;
    /// Null: it is not made of moments. One that is gets its residual from the machines.
    Moments (*moments)(const LossData&) = nullptr;
};

/// All losses there are.
const std::vector<LossDeclaration>& losses();

/// A loss with the values of its fields.
struct LossData {
    using Value = std::variant<RunArray<double>, RunArray<float>, RunArray<std::int64_t>, Index,
                               SphericalTable, LossFunction>;

    std::size_t kind = 0;  ///< place in losses()
    std::vector<Index> run_shape;
    Index n_inputs = 0, n_outputs = 0;
    Index sample_extent = 0;  ///< of sample axes; of moments, which have none, rows of their factor
    std::map<std::string, Value> values;

    LossData() = default;
    /// Of a name in losses(); std::invalid_argument if it is not there.
    LossData(const std::string& name, std::vector<Index> the_run_shape, Index n_in, Index n_out);

    const LossDeclaration& declaration() const { return losses()[kind]; }
    /// The value of a field; null if it has none.
    template <class Content>
    const Content* find(const std::string& name) const {
        const auto found = values.find(name);
        return found == values.end() ? nullptr : std::get_if<Content>(&found->second);
    }
    /// Without data if it has no value.
    template <class T = double>
    RunArray<T> array(const std::string& name) const {
        const auto* const found = find<RunArray<T>>(name);
        return found == nullptr ? RunArray<T>{} : *found;
    }
    /// The law it is of; null: none.
    const SphericalTable* law() const;
};

enum class LawKind : std::int8_t { gaussian = 0, sphere = 1, ball = 2, mixture = 3 };

/// Samples that are drawn anew for every step: of the law of a loss, or of its data.
struct Draws {
    /// The size of the batches from a step on, and how many samples the steps before it saw.
    struct Batches {
        Index first_step, size, samples_before;
    };
    std::vector<Batches> sizes;  ///< by steps, the first one 0; empty: every step sees all samples
    bool replace = true;         ///< else steps go through the data in epochs, shuffled anew
    RunArray<double> noise_std;  ///< scalar: of normal noise on targets; no data: none
    std::uint64_t seed = 0;
    RunArray<std::int64_t> stream;  ///< scalar, 32 bits
    LawKind law = LawKind::gaussian;
    std::vector<double> radii;       ///< scale or radius; of a mixture one per component
    std::vector<double> cumulative;  ///< of a mixture: probability of this radius or one before it

    const Batches& at(Index step) const {
        std::size_t k = sizes.size() - 1;
        while (sizes[k].first_step > step) --k;
        return sizes[k];
    }
    /// How many samples a step sees, of n_all.
    Index size(Index step, Index n_all) const { return sizes.empty() ? n_all : at(step).size; }
    /// The most that any step sees.
    Index most(Index n_all) const {
        Index most = sizes.empty() ? n_all : 0;
        for (const Batches& batches : sizes) most = std::max(most, batches.size);
        return most;
    }
};

}  // namespace linnet
