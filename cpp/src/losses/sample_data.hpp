// What the losses on samples know of them.
#pragma once

#include <stdexcept>
#include <type_traits>
#include <vector>

#include "linnet/loss.hpp"
#include "losses/readings.hpp"

namespace linnet {

/// Samples that are given, or, of a loss of a law, may be drawn; their arrays are Readings.
struct SampleData {
    std::vector<Index> run_shape;
    Index n_features, n_outputs;
    Index n_samples;               ///< 0 of a law
    RunArray<double> direction;    ///< (in), of norm 1: the labels of a law are its sides
    RunArray<double> label_noise;  ///< scalar: how likely a label is the other one; no data: never
    RunArray<double> teacher;  ///< (out, in): what targets of a law are; no data: there are labels
    RunArray<double> noise_std;  ///< scalar: of normal noise on these

    explicit SampleData(const LossData& data)
        : run_shape(data.run_shape),
          n_features(data.n_inputs),
          n_outputs(data.n_outputs),
          n_samples(data.find<Index>("n_samples") == nullptr ? 0 : *data.find<Index>("n_samples")),
          direction(data.array("direction")),
          label_noise(data.array("label_noise")),
          teacher(data.array("teacher")),
          noise_std(data.array("noise_std")) {}

    bool is_of_law() const { return n_samples == 0; }
    bool has_noise() const { return label_noise.data != nullptr; }
    double noise(Index run) const { return has_noise() ? *label_noise.at(run, run_shape) : 0; }

    /// What all losses on given samples declare, besides what each adds.
    static LossDeclaration declaration(const char* name) {
        using Type = LossField::Type;
        const std::vector<LossAxis> of_inputs{LossAxis::input, LossAxis::sample};
        const std::vector<LossAxis> of_outputs{LossAxis::output, LossAxis::sample};
        LossDeclaration loss;
        loss.name = name;
        // Inputs, and what outputs are to be: labels, numbers, or probabilities of classes.
        loss.fields = {{"n_samples", Type::count},
                       {"inputs", Type::array, of_inputs},
                       {"single_inputs", Type::single_array, of_inputs},
                       {"targets", Type::array, of_outputs},
                       {"single_targets", Type::single_array, of_outputs}};
        loss.can_draw = true;
        loss.check = check_padding;
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
