// What the losses on samples know of them.
#pragma once

#include <stdexcept>
#include <type_traits>
#include <vector>

#include "linnet/loss.hpp"

namespace linnet {

/// Samples that are given, or, of a loss of a law, may be drawn.
struct SampleData {
    std::vector<Index> run_shape;
    Index n_features, n_outputs;
    /// Samples, (in, stride): those of one feature side by side, padded with zeros; no data: samples
    /// are of a law
    RunArray<double> inputs;
    RunArray<float> single_inputs;  ///< the same, of runs in single precision
    /// What outputs are to be, (out, stride), likewise: labels, numbers, or probabilities of classes
    RunArray<double> targets;
    RunArray<float> single_targets;
    Index n_samples, stride;
    RunArray<double> direction;    ///< (in), of norm 1: the labels of a law are its sides
    RunArray<double> label_noise;  ///< scalar: how likely a label is the other one; no data: never

    explicit SampleData(const LossData& data)
        : run_shape(data.run_shape),
          n_features(data.n_inputs),
          n_outputs(data.n_outputs),
          inputs(data.array("inputs")),
          single_inputs(data.array<float>("single_inputs")),
          targets(data.array("targets")),
          single_targets(data.array<float>("single_targets")),
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
    template <class T>
    const T* targets_of(Index run) const {
        if constexpr (std::is_same_v<T, float>) {
            return single_targets.at(run, run_shape);
        } else {
            return targets.at(run, run_shape);
        }
    }

    /// What all losses on given samples declare, besides what each adds.
    static LossDeclaration declaration(const char* name) {
        using Type = LossField::Type;
        const std::vector<LossAxis> of_inputs{LossAxis::input, LossAxis::sample};
        const std::vector<LossAxis> of_outputs{LossAxis::output, LossAxis::sample};
        LossDeclaration loss;
        loss.name = name;
        loss.fields = {{"n_samples", Type::count},
                       {"inputs", Type::array, of_inputs},
                       {"single_inputs", Type::single_array, of_inputs},
                       {"targets", Type::array, of_outputs},
                       {"single_targets", Type::single_array, of_outputs}};
        loss.can_draw = true;
        loss.check = [](const LossData& data) {
            const SampleData samples(data);
            if (samples.stride % 16 != 0 || samples.stride < samples.n_samples)
                throw std::invalid_argument("inputs must be padded to a multiple of 16 samples");
        };
        return loss;
    }
};

/// How likely a label is the other one, as a field.
inline LossField label_noise_field() { return {"label_noise", LossField::Type::array, {}, true}; }

/// The work of a residual on samples drawn anew: about 30 multiply-adds more per margin, and per
/// number that is drawn.
inline double work_of_draws(const LossData& data, const Draws& draws) {
    const auto each = static_cast<double>(32 * data.n_inputs + 30 * data.n_outputs);
    return static_cast<double>(draws.most(SampleData(data).n_samples)) * each;
}

}  // namespace linnet
