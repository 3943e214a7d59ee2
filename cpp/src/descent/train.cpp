#include "linnet/train.hpp"

#include "descent/runner.hpp"
#include "engines/costs.hpp"
#include "runs/batch.hpp"
#include "runs/workers.hpp"

namespace linnet {

template <class T>
bool train(const Problem<T>& problem, const Descent& descent, const Results<T>& results,
           const Control& control) {
    Batch<T> batch(problem, results, descent.record_steps.size());
    const Update& update = descent.update;
    const Plan plan =
        training_plan(problem.chain, batch.by, descent.rule != StepKind::constant,
                      {update.by().stores_gradients, update.n_memories(), descent.noise != nullptr,
                       descent.radius.data != nullptr, update.feeds_back});
    const Plan probe_plan = batch.probe_plan();
    Costs costs = Costs::of<T>(plan);
    costs.add_loss(problem.loss, descent.draws, native_lanes<T>);
    costs.add_update(plan, update.by());
    const auto make_direct = [&](Progress& progress, Pulse& pulse) {
        return DirectDescent<T>(batch, descent, progress, pulse,
                                batch.template direct_machine<T>(plan, batch.has_decay, descent),
                                batch.direct_probe(probe_plan), costs.direct);
    };
    const auto make_lanes = [&](Progress& progress, Pulse& pulse, Index share,
                                DirectDescent<T>& direct) {
        const int n_groups = lane_groups<T>(plan, problem.loss, share);
        const int probe_groups = n_groups * native_lanes<T> / native_lanes<double>;
        return LaneDescent<T>(
            batch, descent, progress, pulse,
            batch.template lane_machine<T>(plan, n_groups, batch.has_decay, descent),
            batch.lane_probe(probe_plan, probe_groups), costs.lanes * n_groups, &direct.machine());
    };
    return work_through(batch, costs, control, make_direct, make_lanes);
}

template bool train<double>(const Problem<double>&, const Descent&, const Results<double>&,
                            const Control&);
template bool train<float>(const Problem<float>&, const Descent&, const Results<float>&,
                           const Control&);

}  // namespace linnet
