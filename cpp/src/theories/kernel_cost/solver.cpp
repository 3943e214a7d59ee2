#include "linnet/kernel_cost.hpp"

#include <algorithm>
#include <atomic>
#include <optional>
#include <random>

#include "base/parallel.hpp"
#include "theories/kernel_cost/certificate.hpp"
#include "theories/kernel_cost/descent.hpp"

namespace linnet {

namespace {

using namespace kernel;

constexpr int max_starts = 24;
constexpr Index most_taps = 160;  ///< for which the barrier's matrices are worth their time

/// A problem at a time, with room for all it needs.
class Solver {
public:
    Solver(const KernelProblem& problem, const std::vector<Table>& tables)
        : objective_(problem, tables),
          descent_(objective_),
          best_(Vector::Zero(objective_.size)) {
        if (objective_.size <= most_taps) certificate_.emplace(objective_);
    }

    void solve(Index which, const KernelResults& results, Pulse& stop) {
        const double scale = objective_.load(which);
        const double good = good_gap * objective_.n_layers;
        double upper = infinity;
        double lower = -infinity;
        std::mt19937_64 generator(12345);
        std::normal_distribution<double> normal;
        for (int start = 0; start < max_starts && !(upper - lower <= good) && !stop(); ++start) {
            descent_.begin(start, generator, normal);
            const double value = descent_.minimise(stop);
            if (!std::isfinite(value)) continue;
            lower = std::max(lower, objective_.bound(value));
            if (value < upper) {
                upper = value;
                best_ = descent_.point;
            }
            if (!certificate_ || upper - lower <= good) continue;
            lower = std::max(lower, certificate_->refine(upper));
            // Once, and not at once: it costs more than another start.
            if (start == 1 && upper - lower > good)
                lower = std::max(lower, certificate_->bound(upper, stop));
        }
        results.upper[which] = upper + scale;
        results.lower[which] = std::min(lower, upper) + scale;
        std::copy_n(best_.data(), best_.size(), results.kernels + which * best_.size());
    }

private:
    Objective objective_;
    KernelDescent descent_;
    std::optional<Certificate> certificate_;
    Vector best_;
};

}  // namespace

bool kernel_cost(const KernelProblem& problem, const KernelResults& results,
                 const Control& control) {
    std::vector<Table> tables;
    for (std::size_t g = 0; g < problem.taps.size(); ++g) {
        tables.emplace_back(problem.extent, problem.n_frequencies, problem.taps[g],
                            problem.dilations[g]);
    }
    if (problem.n_problems == 0) return true;
    Progress progress;
    std::atomic<Index> next{0};
    run_workers(at_most(control, problem.n_problems), progress, [&](int /*worker*/, Pulse& pulse) {
        Solver solver(problem, tables);
        while (true) {
            const Index which = next.fetch_add(1, std::memory_order_relaxed);
            if (which >= problem.n_problems || pulse()) return;
            solver.solve(which, results, pulse);
        }
    });
    return !progress.stop.load();
}

}  // namespace linnet
