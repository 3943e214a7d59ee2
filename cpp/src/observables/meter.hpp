// A measure at work: an observable with parameters, of groups of runs.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "base/entries.hpp"
#include "base/simd.hpp"
#include "linnet/index.hpp"
#include "linnet/observables.hpp"
#include "losses/engine.hpp"
#include "losses/registry.hpp"
#include "plan/plan.hpp"

namespace linnet {

/// What a meter sees of a group of runs: a machine that holds their weights, with all operations up
/// to the gradients done.
template <class Machine>
class MeterView {
public:
    static constexpr bool packed = Machine::packed;
    using V = std::conditional_t<packed, Pack<double, native_lanes<double>>, double>;
    static constexpr int lanes = packed ? native_lanes<double> : 1;

    /// scales: what the method divides gradients by, null if nothing is known of that; is_decoupled:
    /// weight decay is not among these gradients.
    MeterView(Machine& machine, int group, const Index* runs, const V* singular_values,
              const V* scales, bool is_decoupled, const std::function<bool()>& pulse)
        : machine_(machine),
          group_(group),
          runs_(runs),
          singular_values_(singular_values),
          scales_(scales),
          is_decoupled_(is_decoupled),
          pulse_(pulse) {}

    const Plan& plan() const { return machine_.plan(); }
    int group() const { return group_; }
    /// Of the run in a lane; -1: there is none.
    Index run(int lane) const { return runs_[group_ * lanes + lane]; }
    const V* singular_values() const { return singular_values_; }
    const V* scales() const { return scales_; }
    bool is_decoupled() const { return is_decoupled_; }
    bool pulse() const { return pulse_(); }
    LossEngine<V>& loss() const { return *machine_.steering().loss; }
    /// Let another loss be that of the machine, whose plan does not know it.
    void exchange_loss(std::unique_ptr<LossEngine<V>>& other) const {
        std::swap(machine_.steering().loss, other);
    }

    Places<V> places(int id) const {
        const Plan::Matrix& shape = plan().matrices[static_cast<std::size_t>(id)];
        const auto m = machine_.view(group_, id);
        return {m.data, m.ld, shape.rows, shape.cols};
    }
    Entries<V> entries(int id) const {
        const Places<V> m = places(id);
        return {m.data, m.ld, m.rows, m.cols};
    }
    Entries<V> product() const { return entries(plan().product); }
    /// Operations first ... last - 1; false if asked to stop.
    bool operate(std::size_t first, std::size_t last) const {
        const auto g = static_cast<std::size_t>(group_);
        return !pulse() && machine_.run(first, last, g, g + 1);
    }

    Index n_weights() const {
        Index total = 0;
        for (const int id : plan().weights) total += size_of(id);
        return total;
    }
    /// Numbers side by side <-> matrices.
    void put(const V* from, const std::vector<int>& ids) const {
        for (const int id : ids) {
            const Places<V> m = places(id);
            for (Index i = 0; i < m.rows; ++i, from += m.cols) std::copy_n(from, m.cols, &m(i, 0));
        }
    }
    void get(const std::vector<int>& ids, V* to) const {
        for (const int id : ids) {
            const Places<V> m = places(id);
            for (Index i = 0; i < m.rows; ++i, to += m.cols) std::copy_n(&m(i, 0), m.cols, to);
        }
    }
    /// to <- the Hessian of the objective, weight decay included, times a direction of the weights.
    bool curve(const V* direction, V* to) const {
        if (!curve_loss(direction, to)) return false;
        add_decay(direction, to);
        return true;
    }
    /// The same without weight decay.
    bool curve_loss(const V* direction, V* to) const {
        put(direction, plan().directions);
        if (!operate(plan().tangent_begin, plan().curvature_end)) return false;
        get(plan().curvatures, to);
        return true;
    }
    /// to <- to + what weight decay adds.
    void add_decay(const V* direction, V* to) const {
        Index at = 0;
        for (std::size_t l = 0; l < plan().weights.size(); ++l) {
            const V decay = machine_.decay(group_, static_cast<Index>(l));
            const Index end = at + size_of(plan().weights[l]);
            for (; at < end; ++at) to[at] = fma(decay, direction[at], to[at]);
        }
    }
    /// The gradients become those of a loss whose residual is what stands in its place.
    bool pull_back() const { return operate(plan().product_end + 1, plan().gradient_end); }
    /// Residual and gradients become those of the loss again.
    bool restore() const { return operate(plan().product_end, plan().gradient_end); }

private:
    Index size_of(int id) const {
        const Plan::Matrix& m = plan().matrices[static_cast<std::size_t>(id)];
        return m.rows * m.cols;
    }

    Machine& machine_;
    int group_;
    const Index* runs_;
    const V* singular_values_;
    const V* scales_;
    bool is_decoupled_;
    const std::function<bool()>& pulse_;
};

/// The loss that a measure is of: that of the training, or one of its own.
template <class Machine>
class LossOfMeasure {
public:
    using View = MeterView<Machine>;
    using V = typename View::V;

    LossOfMeasure(const Measure& measure, int n_slots) {
        if (!measure.loss) return;
        own_ = Losses::engine<V>(*measure.loss, nullptr, n_slots);
        if (measure.loss->declaration().has_curvature) own_->prepare_curvature();
    }
    void set_run(int slot, Index run) {
        if (own_ != nullptr) own_->set_run(slot, run, 0);
    }
    /// work() where residual and gradients are those of this loss.
    template <class Work>
    bool with(const View& at, const Work& work) {
        if (own_ == nullptr) return work();
        at.exchange_loss(own_);
        at.loss().residual(at.group(), at.product(), at.places(at.plan().residual));
        const bool is_done = at.pull_back() && work();
        at.exchange_loss(own_);
        return is_done && at.restore();
    }

private:
    std::unique_ptr<LossEngine<V>> own_;
};

/// Evaluates one measure.
template <class Machine>
class Meter {
public:
    using View = MeterView<Machine>;
    using V = typename View::V;
    static constexpr int lanes = View::lanes;

    Meter() = default;
    virtual ~Meter() = default;
    Meter(const Meter&) = delete;
    Meter& operator=(const Meter&) = delete;

    /// The run in a slot has changed.
    virtual void set_run(int /*slot*/, Index /*run*/, const std::vector<Index>& /*run_shape*/) {}
    /// All numbers of a group of runs; false if asked to stop.
    virtual bool evaluate(const View& at, V* to) = 0;
};

}  // namespace linnet
