// The measures, observables with parameters. Each is a struct with its declaration, and with
//
//     make<Machine>(context)   the meter that evaluates one
//
// and is listed in `AllMeasures`; meters are in *_meters.hpp.
#pragma once

#include <algorithm>
#include <limits>
#include <memory>
#include <vector>

#include "observables/curvature_meters.hpp"
#include "observables/kernel_meters.hpp"
#include "observables/meter.hpp"
#include "observables/noise_meters.hpp"
#include "observables/plain_meters.hpp"

namespace linnet {

/// What a meter is made of.
struct MeterContext {
    const Chain& chain;
    const Measure& measure;
    int n_slots;

    Index n_weights() const {
        Index total = 0;
        for (const Index size : chain.sizes) total += size;
        return total;
    }
};
template <class Machine>
using MadeMeter = std::unique_ptr<Meter<Machine>>;

namespace measure {

using Shape = std::vector<Index>;
using Shapes = std::vector<Shape>;

inline Shape number(const Chain&, const Measure&) { return {}; }
inline Shape counted(const Chain&, const Measure& of) { return {of.count}; }
inline Shape ends(const Chain&, const Measure& of) {
    if (of.count == 0) return {};
    return of.both ? Shape{2, of.count} : Shape{of.count};
}
/// Weights, side by side.
inline Shapes of_weights(const Chain& chain) {
    Shapes shapes;
    for (const Index size : chain.sizes) shapes.push_back({size});
    return shapes;
}
/// What kernels see of inputs, and then other arrays.
inline Shapes after_moments(const Chain& chain, const Measure& of, Shapes others) {
    if (!of.of_measurements)
        others.insert(others.begin(), Shape{chain.n_inputs(), chain.n_inputs()});
    return others;
}

struct HessianEigenvalues {
    static MeasureDeclaration declaration() {
        MeasureDeclaration one{"hessian_eigenvalues", ends};
        one.needs_directions = one.needs_curvature = true;
        return one;
    }
    template <class Machine>
    static MadeMeter<Machine> make(const MeterContext& of) {
        return std::make_unique<linnet::HessianEigenvalues<Machine>>(of.n_weights(), of.measure,
                                                                     of.n_slots);
    }
};

struct HessianTrace {
    static MeasureDeclaration declaration() {
        MeasureDeclaration one{"hessian_trace", number};
        one.needs_directions = one.needs_curvature = true;
        return one;
    }
    template <class Machine>
    static MadeMeter<Machine> make(const MeterContext& of) {
        return std::make_unique<linnet::HessianTrace<Machine>>(of.n_weights(), of.measure,
                                                               of.n_slots);
    }
};

struct HessianProduct {
    static MeasureDeclaration declaration() {
        MeasureDeclaration one{"hessian_product", counted};
        one.arrays = [](const Chain&, const Measure& of) { return Shapes{{of.count}}; };
        one.needs_directions = one.needs_curvature = true;
        return one;
    }
    template <class Machine>
    static MadeMeter<Machine> make(const MeterContext& of) {
        return std::make_unique<linnet::HessianProduct<Machine>>(of.n_weights(), of.measure,
                                                                 of.n_slots);
    }
};

struct PreconditionedSharpness {
    static MeasureDeclaration declaration() {
        MeasureDeclaration one{"preconditioned_sharpness", number};
        one.needs_directions = one.needs_curvature = one.needs_scales = true;
        return one;
    }
    template <class Machine>
    static MadeMeter<Machine> make(const MeterContext& of) {
        return std::make_unique<linnet::PreconditionedSharpness<Machine>>(of.n_weights());
    }
};

template <bool is_curved>
struct GradientNoiseOf {
    static MeasureDeclaration declaration() {
        MeasureDeclaration one{is_curved ? "gradient_noise_curvature" : "gradient_noise", number};
        one.needs_directions = one.needs_samples = true;
        one.needs_curvature = is_curved;
        return one;
    }
    template <class Machine>
    static MadeMeter<Machine> make(const MeterContext& of) {
        return std::make_unique<linnet::GradientNoise<Machine>>(of.chain, of.n_weights(),
                                                                of.measure, of.n_slots, is_curved);
    }
};

struct KernelEigenvalues {
    static MeasureDeclaration declaration() {
        MeasureDeclaration one{"ntk_eigenvalues", counted};
        one.arrays = [](const Chain& chain, const Measure& of) {
            return after_moments(chain, of, {});
        };
        one.needs_directions = true;
        return one;
    }
    template <class Machine>
    static MadeMeter<Machine> make(const MeterContext& of) {
        return std::make_unique<linnet::KernelEigenvalues<Machine>>(
            of.n_weights(), of.chain.n_inputs(), of.measure, of.n_slots);
    }
};

struct KernelDistance {
    static MeasureDeclaration declaration() {
        MeasureDeclaration one{"kernel_distance", number};
        one.arrays = [](const Chain& chain, const Measure& of) {
            return after_moments(chain, of, of_weights(chain));
        };
        one.needs_directions = true;
        return one;
    }
    template <class Machine>
    static MadeMeter<Machine> make(const MeterContext& of) {
        return std::make_unique<linnet::KernelDistance<Machine>>(of.chain, of.n_weights(),
                                                                 of.measure, of.n_slots);
    }
};

struct KernelAlignment {
    static MeasureDeclaration declaration() {
        MeasureDeclaration one{"kernel_alignment", number};
        one.arrays = [](const Chain& chain, const Measure& of) {
            return after_moments(chain, of, {{chain.n_outputs(), chain.n_inputs()}, {}});
        };
        one.needs_directions = true;
        return one;
    }
    template <class Machine>
    static MadeMeter<Machine> make(const MeterContext& of) {
        return std::make_unique<linnet::KernelAlignment<Machine>>(of.chain, of.n_weights(),
                                                                  of.measure, of.n_slots);
    }
};

struct WeightDistance {
    static MeasureDeclaration declaration() {
        MeasureDeclaration one{"weight_distance", number};
        one.arrays = [](const Chain& chain, const Measure&) { return of_weights(chain); };
        return one;
    }
    template <class Machine>
    static MadeMeter<Machine> make(const MeterContext& of) {
        return std::make_unique<linnet::WeightDistance<Machine>>(of.chain.sizes, of.measure,
                                                                 of.n_slots);
    }
};

struct Overlap {
    static MeasureDeclaration declaration() {
        MeasureDeclaration one{"overlap", counted};
        one.arrays = [](const Chain& chain, const Measure& of) {
            return Shapes{{of.count, chain.n_outputs()}, {of.count, chain.n_inputs()}};
        };
        return one;
    }
    template <class Machine>
    static MadeMeter<Machine> make(const MeterContext& of) {
        return std::make_unique<linnet::Overlap<Machine>>(of.chain.n_outputs(), of.chain.n_inputs(),
                                                          of.measure, of.n_slots);
    }
};

struct SchattenNorm {
    static MeasureDeclaration declaration() {
        MeasureDeclaration one{"schatten_norm", number};
        one.needs_singular_values = true;
        return one;
    }
    template <class Machine>
    static MadeMeter<Machine> make(const MeterContext& of) {
        return std::make_unique<linnet::SchattenNorm<Machine>>(of.measure);
    }
};

struct Conserved {
    static MeasureDeclaration declaration() {
        MeasureDeclaration one{"conserved", [](const Chain& chain, const Measure&) {
                                   return Shape{static_cast<Index>(chain.sizes.size()) - 1};
                               }};
        one.needs_balances = true;
        return one;
    }
    template <class Machine>
    static MadeMeter<Machine> make(const MeterContext& of) {
        return std::make_unique<linnet::Conserved<Machine>>(of.chain.sizes, of.measure);
    }
};

}  // namespace measure

template <class... List>
struct MeasureList {
    static std::vector<MeasureDeclaration> declarations() { return {List::declaration()...}; }
    template <class Machine>
    static MadeMeter<Machine> make(const MeterContext& of) {
        using Make = MadeMeter<Machine> (*)(const MeterContext&);
        static constexpr Make makes[] = {List::template make<Machine>...};
        return makes[of.measure.kind](of);
    }
};

using AllMeasures =
    MeasureList<measure::HessianEigenvalues, measure::HessianTrace, measure::HessianProduct,
                measure::KernelEigenvalues, measure::KernelDistance, measure::KernelAlignment,
                measure::WeightDistance, measure::Overlap, measure::SchattenNorm,
                measure::Conserved, measure::PreconditionedSharpness,
                measure::GradientNoiseOf<false>, measure::GradientNoiseOf<true>>;

/// The measures of a problem at work, on a machine of the probe.
template <class Machine>
class Meters {
public:
    using View = MeterView<Machine>;
    using V = typename View::V;
    static constexpr int lanes = View::lanes;

    Meters(const Chain& chain, const std::vector<Measure>& all, const std::vector<Index>& run_shape,
           int n_slots)
        : all_(all),
          run_shape_(run_shape),
          runs_(static_cast<std::size_t>(n_slots), -1) {
        bool needs_scales = false;
        for (const Measure& one : all) {
            meters_.push_back(AllMeasures::make<Machine>({chain, one, n_slots}));
            firsts_.push_back(size_);
            size_ += size_of(one, chain);
            needs_scales = needs_scales || measures()[one.kind].needs_scales;
        }
        if (needs_scales) {
            for (const Index size : chain.sizes) n_weights_ += size;
            scales_ = Arena<V>(n_weights_ * (n_slots / lanes));
            std::fill_n(scales_.data(), n_weights_ * (n_slots / lanes),
                        broadcast<V>(std::numeric_limits<double>::quiet_NaN()));
        }
        values_ = Arena<V>(size_ * (n_slots / lanes));
    }
    /// What the method of the run in a slot divides gradients by, weight after weight.
    void set_scales(int slot, const double* scales, bool is_decoupled) {
        V* const to = scales_.data() + slot / lanes * n_weights_;
        for (Index i = 0; i < n_weights_; ++i) set_lane(to[i], slot % lanes, scales[i]);
        is_decoupled_ = is_decoupled;
    }
    void set_run(int slot, Index run) {
        runs_[static_cast<std::size_t>(slot)] = run;
        for (const auto& meter : meters_) meter->set_run(slot, run, run_shape_);
    }
    /// is_wanted(k): is measure k?
    template <class IsWanted>
    bool evaluate(Machine& machine, int group, const V* singular_values,
                  const std::function<bool()>& pulse, const IsWanted& is_wanted) {
        const View at(machine, group, runs_.data(), singular_values,
                      scales_.data() + group * n_weights_, is_decoupled_, pulse);
        for (std::size_t k = 0; k < meters_.size(); ++k) {
            if (is_wanted(all_[k]) &&
                !meters_[k]->evaluate(at, values_.data() + group * size_ + firsts_[k]))
                return false;
        }
        return true;
    }
    double value(int slot, std::size_t k, Index i = 0) const {
        return get_lane(values_.data()[slot / lanes * size_ + firsts_[k] + i], slot % lanes);
    }

private:
    const std::vector<Measure>& all_;
    const std::vector<Index>& run_shape_;
    std::vector<Index> runs_;  // per slot
    std::vector<MadeMeter<Machine>> meters_;
    std::vector<Index> firsts_;
    Index size_ = 0;
    Arena<V> values_;  // per group
    Index n_weights_ = 0;
    Arena<V> scales_;  // per group, where they are needed
    bool is_decoupled_ = false;
};

}  // namespace linnet
