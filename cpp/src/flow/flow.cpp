// flow(): gradient flow of a batch of runs, each with a step size of its own.
#include "engines/costs.hpp"
#include "flow/runner.hpp"
#include "linnet/train.hpp"
#include "runs/batch.hpp"
#include "runs/workers.hpp"

namespace linnet {

bool flow(const Problem<double>& problem, const Flow& method, const Results<double>& results,
          const Control& control) {
    Batch<double> batch(problem, results, method.record_times.size());
    const Plan plan = slope_plan(problem.chain, batch.by);
    const Plan probe_plan = batch.probe_plan();
    // Per slope about eight others are combined.
    Costs costs = Costs::of<double>(plan, 8);
    costs.add_loss(problem.loss, nullptr, native_lanes<double>);
    const auto make_direct = [&](Progress& progress, Pulse& pulse) {
        return DirectFlow(batch, method, progress, pulse,
                          batch.direct_machine<double>(plan, batch.has_decay),
                          batch.direct_probe(probe_plan));
    };
    const auto make_lanes = [&](Progress& progress, Pulse& pulse, Index /*share*/,
                                DirectFlow& /*direct*/) {
        // One group of lanes: combining slopes leaves enough to do while products wait for each
        // other.
        return LaneFlow(batch, method, progress, pulse,
                        batch.lane_machine<double>(plan, 1, batch.has_decay),
                        batch.lane_probe(probe_plan, 1));
    };
    return work_through(batch, costs, control, make_direct, make_lanes);
}

}  // namespace linnet
