// The list of losses. Each is a struct with its declaration, and with
//
//     engine<V>(data, draws, n_slots)   what evaluates it; draws: samples are drawn anew for every
//                                       step, if not null
//     work(data, draws)                 of one residual, in multiply-adds, about
#pragma once

#include <memory>
#include <vector>

#include "losses/completion.hpp"
#include "losses/custom.hpp"
#include "losses/samples.hpp"
#include "losses/sensing.hpp"
#include "losses/spherical.hpp"
#include "losses/squared.hpp"
#include "losses/teacher.hpp"

namespace linnet {

template <class... Losses>
struct LossList {
    static std::vector<LossDeclaration> declarations() { return {Losses::declaration()...}; }

    /// Compiled once, in registry.cpp: for one run, and for as many as there are lanes.
    template <class V>
    static std::unique_ptr<LossEngine<V>> engine(const LossData& data, const Draws* draws,
                                                 int n_slots);
    static double work(const LossData& data, const Draws* draws) {
        using Work = double (*)(const LossData&, const Draws*);
        static constexpr Work works[] = {Losses::work...};
        return works[data.kind](data, draws);
    }
};

using Losses = LossList<SquaredLoss, SquaredSampleLoss, LogisticLoss, ExponentialLoss,
                        CrossEntropyLoss, SphericalLoss, TeacherLoss, CompletionLoss, SensingLoss,
                        RankOneSensingLoss, CustomLoss>;

}  // namespace linnet
