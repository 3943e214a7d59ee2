// Losses of one output that are not made of second moments.
#pragma once

#include <vector>

#include "base/simd.hpp"
#include "linnet/index.hpp"

namespace linnet {

/// What a machine asks of such a loss. A run is a slot, `lanes` of them are a group and share packs
/// V; a product has one row.
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

    /// to <- dloss / dproduct, of every run of a group.
    virtual void residual(int group, const V* product, V* to) = 0;
    virtual V loss(int group, const V* product) = 0;
    /// The least of the margins over the norm of the product.
    virtual V margin(int /*group*/, const V* /*product*/) { return V{}; }
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
