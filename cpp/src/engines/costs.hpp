// What a run costs on each machine, and so which one is to take it.
#pragma once

#include <algorithm>
#include <limits>

#include "engines/direct_machine.hpp"
#include "linnet/update.hpp"
#include "losses/registry.hpp"
#include "plan/plan.hpp"

namespace linnet {

/// What going once through a plan costs, in vector multiply-adds: for a group of lanes, and for one
/// run on the direct machine. The constants are what a block and a call cost beside its
/// multiply-adds; they steer speed, never results.
struct Costs {
    double lanes = 0;
    double direct = 0;
    bool has_large_product = false;

    /// extra_copies: how many more copies of the weights are kept, and read once each.
    template <class T>
    static Costs of(const Plan& plan, Index extra_copies = 0) {
        Costs costs;
        const Index width = native_lanes<T>;
        const auto vectors_of = [](const Plan::Matrix& m) {
            return static_cast<double>(m.rows) * static_cast<double>((m.cols + width - 1) / width);
        };
        const auto entries_of = [](const Plan::Matrix& m) {
            return static_cast<double>(m.rows) * static_cast<double>(m.cols);
        };
        for (const Operation& operation : plan.operations) {
            const Plan::Matrix& c = plan.matrices[static_cast<std::size_t>(operation.c)];
            if (is_pattern(operation.kind)) {  // a single run takes as long as a pack of them
                const double work = 2 * plan.multiply_adds(operation) + 15;
                costs.lanes += work;
                costs.direct += work;
                continue;
            }
            double inner = static_cast<double>(plan.inner(operation));
            if (operation.kind == Product::update_stored)  // memories are read and written
                inner += static_cast<double>(2 * plan.n_memories());
            costs.lanes += entries_of(c) * (inner + 2) + 15;
            costs.direct += vectors_of(c) * (inner + 4) + 40;
            const double full_inner = operation.kind == Product::residual_diagonal
                                          ? static_cast<double>(plan.n_inputs())
                                          : inner;
            costs.has_large_product =
                costs.has_large_product || entries_of(c) * full_inner >= eigen_from;
        }
        // Lanes multiply the working set by their number, and slow down when it leaves the first
        // and second level cache.
        double bytes = 0;
        for (const Plan::Matrix& m : plan.matrices) bytes += entries_of(m) * vector_bytes;
        for (const int id : plan.weights) {
            const Plan::Matrix& m = plan.matrices[static_cast<std::size_t>(id)];
            const auto copies = static_cast<double>(extra_copies);
            costs.lanes += copies * entries_of(m);
            costs.direct += copies * vectors_of(m);
            bytes += copies * entries_of(m) * vector_bytes;
        }
        costs.lanes *= bytes > 1e6 ? 2 : bytes > 2e5 ? 1.25 : bytes > 6e4 ? 1.1 : 1;
        return costs;
    }

    /// Add the residual of a loss that goes through samples, or through one run of a group after
    /// the other.
    void add_loss(const LossData& loss, const Draws* draws, int width) {
        const double work = Losses::work(loss, draws);
        const auto together = draws == nullptr ? loss.declaration().work_together : nullptr;
        direct += work / width;
        lanes += together == nullptr ? work : work * together(loss);
    }

    /// Add what an update policy of whole arrays takes, of a pack of runs as long as of one.
    void add_update(const Plan& plan, const UpdatePolicy& policy) {
        for (const int id : plan.weights) {
            const Plan::Matrix& m = plan.matrices[static_cast<std::size_t>(id)];
            if (policy.work == nullptr) return;
            const double work =
                policy.work(static_cast<double>(m.rows), static_cast<double>(m.cols));
            direct += work;
            lanes += work;
        }
    }

    /// From how many runs on a group of lanes is faster than one run after the other.
    double fewest_lanes() const {
        return has_large_product ? std::numeric_limits<double>::infinity() : lanes / direct;
    }
};

/// Does a loss take as many runs together as there are?
inline bool takes_many(const LossData& loss) {
    const auto asked = loss.declaration().takes_many;
    return asked != nullptr && asked(loss);
}

/// Lane groups that take turns: several while they are so small that one cannot hide its own
/// latency, and many where the loss takes them together.
template <class T>
int lane_groups(const Plan& plan, const LossData& loss, Index runs_per_worker) {
    Index entries = 0;
    for (const Plan::Matrix& m : plan.matrices) entries += m.rows * m.cols;
    Index by_size = entries <= 40 ? 4 : entries <= 600 ? 2 : 1;
    if (takes_many(loss)) by_size = std::max(by_size, std::min<Index>(32, (1 << 16) / entries));
    const Index by_runs = (runs_per_worker + native_lanes<T> - 1) / native_lanes<T>;
    return static_cast<int>(std::max<Index>(1, std::min(by_size, by_runs)));
}

}  // namespace linnet
