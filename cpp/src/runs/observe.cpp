// observe(): what a training would record, without one.
#include "engines/costs.hpp"
#include "linnet/train.hpp"
#include "runs/batch.hpp"
#include "runs/observer.hpp"
#include "runs/workers.hpp"

namespace linnet {

template <class T>
bool observe(const Problem<T>& problem, const Results<T>& results, const Control& control) {
    using Direct = Observer<T, DirectMachine<double>>;
    using Lanes = Observer<T, LaneMachine<double>>;
    Batch<T> batch(problem, results, 1);
    const Plan plan = batch.probe_plan();
    Costs costs = Costs::of<double>(plan);
    costs.add_loss(problem.loss, nullptr, native_lanes<double>);
    const auto make_direct = [&](Progress& /*progress*/, Pulse& pulse) {
        return Direct(batch, pulse, batch.direct_probe(plan));
    };
    const auto make_lanes = [&](Progress& /*progress*/, Pulse& pulse, Index share,
                                Direct& /*direct*/) {
        // Singular values are found of two groups at once.
        const int pair = share > native_lanes<double> ? 2 : 1;
        const int n_groups =
            takes_many(problem.loss) ? lane_groups<double>(plan, problem.loss, share) : pair;
        return Lanes(batch, pulse, batch.lane_probe(plan, n_groups));
    };
    return work_through(batch, costs, control, make_direct, make_lanes);
}

template bool observe<double>(const Problem<double>&, const Results<double>&, const Control&);
template bool observe<float>(const Problem<float>&, const Results<float>&, const Control&);

}  // namespace linnet
