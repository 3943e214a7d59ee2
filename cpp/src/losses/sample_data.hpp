// What the losses on samples x with labels y = 1 or -1 know of them.
#pragma once

#include <stdexcept>
#include <type_traits>
#include <vector>

#include "linnet/loss.hpp"

namespace linnet {

/// Samples that are given, or, of a loss of a law, may be drawn.
struct SampleData {
    std::vector<Index> run_shape;
    Index n_features;
    /// y x of samples, (in, stride): those of one feature side by side, padded with zeros; no data:
    /// samples are of a law
    RunArray<double> inputs;
    RunArray<float> single_inputs;  ///< the same, of runs in single precision
    Index n_samples, stride;
    RunArray<double> direction;    ///< (in), of norm 1: the labels of a law are its sides
    RunArray<double> label_noise;  ///< scalar: how likely a label is the other one; no data: never

    explicit SampleData(const LossData& data)
        : run_shape(data.run_shape),
          n_features(data.n_inputs),
          inputs(data.array("inputs")),
          single_inputs(data.array<float>("single_inputs")),
          n_samples(data.find<Index>("n_samples") == nullptr ? 0 : *data.find<Index>("n_samples")),
          stride(data.sample_extent),
          direction(data.array("direction")),
          label_noise(data.array("label_noise")) {}

    bool is_of_law() const { return inputs.data == nullptr; }
    bool has_noise() const { return label_noise.data != nullptr; }
    double noise(Index run) const { return has_noise() ? *label_noise.at(run, run_shape) : 0; }
    template <class T>
    const T* inputs_of(Index run) const {
        if constexpr (std::is_same_v<T, float>) {
            return single_inputs.at(run, run_shape);
        } else {
            return inputs.at(run, run_shape);
        }
    }

    /// What all losses on samples of one output declare.
    static LossDeclaration declaration(const char* name, std::vector<LossField> fields) {
        LossDeclaration loss;
        loss.name = name;
        loss.fields = std::move(fields);
        loss.fields.push_back({"label_noise", LossField::Type::array, {}, true});
        loss.needs_one_output = true;
        loss.can_draw = true;
        return loss;
    }
};

/// The work of a residual on samples drawn anew: about 30 multiply-adds more per margin, and per
/// number that is drawn.
inline double work_of_draws(const LossData& data, const Draws& draws) {
    return static_cast<double>(draws.batch_size) * (32 * static_cast<double>(data.n_inputs) + 30);
}

}  // namespace linnet
