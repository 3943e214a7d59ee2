// A loss at work.
#pragma once

#include <stdexcept>
#include <vector>

#include "base/entries.hpp"
#include "base/simd.hpp"
#include "linnet/index.hpp"

namespace linnet {

/// What machines and probes ask of a loss. A run is a slot, `lanes` of them are a group and share
/// packs V.
template <class V>
class LossEngine {
public:
    static constexpr int lanes = PackTraits<V>::lanes;

    explicit LossEngine(int n_slots)
        : runs_(static_cast<std::size_t>(n_slots), -1),
          steps_(static_cast<std::size_t>(n_slots), 0),
          log_scales_(static_cast<std::size_t>(n_slots), 0.0) {}
    virtual ~LossEngine() = default;
    LossEngine(const LossEngine&) = delete;
    LossEngine& operator=(const LossEngine&) = delete;

    /// to <- dloss / dproduct, of every run of a group; of a loss that is made of moments machines know
    /// it.
    virtual void residual(int /*group*/, const Entries<V>& /*product*/, const Places<V>& /*to*/) {
        throw std::logic_error("the residual of this loss comes from its moments");
    }
    /// The same of groups first_group ... last_group - 1, which a loss may take together.
    virtual void residuals(int first_group, int last_group, const Entries<V>* products,
                           const Places<V>* to) {
        for (int g = first_group; g < last_group; ++g)
            residual(g, products[g - first_group], to[g - first_group]);
    }
    virtual V loss(int group, const Entries<V>& product) = 0;
    /// to <- the derivative of the residual at a product along a direction, of a loss that has one.
    virtual void curvature(int /*group*/, const Entries<V>& /*product*/,
                           const Entries<V>& /*direction*/, const Places<V>& /*to*/) {
        throw std::logic_error("this loss has no second derivative");
    }
    /// Curvatures are going to be asked for.
    virtual void prepare_curvature() {}
    /// The losses of these groups are asked for next, which a loss may take together.
    virtual void prepare(int /*first_group*/, int /*last_group*/, const Entries<V>* /*products*/) {}
    /// The least of the margins over the norm of the product, of a loss that has margins.
    virtual V margin(int /*group*/, const Entries<V>& /*product*/) { return V{}; }
    /// The share of margins that are positive, likewise.
    virtual V accuracy(int /*group*/, const Entries<V>& /*product*/) { return V{}; }
    virtual void set_run(int slot, Index run, Index step) {
        runs_[static_cast<std::size_t>(slot)] = run;
        steps_[static_cast<std::size_t>(slot)] = step;
    }
    /// A step has been taken: the next one has other samples.
    void advance() {
        for (Index& step : steps_) ++step;
    }
    /// From now on residuals are e^log_scale times what they are, without what lies in between.
    void set_log_scale(int slot, double log_scale) {
        is_scaled_ = true;
        log_scales_[static_cast<std::size_t>(slot)] = log_scale;
    }

protected:
    Index run(int slot) const { return runs_[static_cast<std::size_t>(slot)]; }
    Index step(int slot) const { return steps_[static_cast<std::size_t>(slot)]; }
    double log_scale(int slot) const { return log_scales_[static_cast<std::size_t>(slot)]; }
    bool is_scaled() const { return is_scaled_; }

private:
    std::vector<Index> runs_, steps_;
    std::vector<double> log_scales_;
    bool is_scaled_ = false;
};

}  // namespace linnet
