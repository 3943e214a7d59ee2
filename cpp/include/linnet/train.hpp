// The C++ face of the core: describe a batch of runs with plain structs, call train(), flow() or
// observe().
//
// A network computes x -> M_L ... M_1 x; most often M_l is its array of weights W_l, (rows, cols)
// and row-major. Every array that belongs to runs may broadcast along any of the run axes (stride
// 0), so that nothing is copied per run.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "linnet/chain.hpp"
#include "linnet/index.hpp"
#include "linnet/loss.hpp"
#include "linnet/observables.hpp"
#include "linnet/step_rule.hpp"
#include "linnet/update.hpp"

namespace linnet {

/// A loss that runs are looked at by, and not trained on.
struct EvaluatedLoss {
    LossData loss;
    RunArray<double> stop;  ///< scalar: at or below it a run ends; no data: no such rule
};

/// What to train. T is the type of the weights and of the arithmetic of a step, double or float.
/// Where "layers" are counted, arrays of weights are meant: in a chain with fixed or shared factors
/// there are fewer.
template <class T>
struct Problem {
    Chain chain;
    std::vector<Index> run_shape;  ///< extents of the run axes
    std::vector<RunArray<T>> weights;
    /// What an update policy keeps: the first memory of every layer, then the second ...
    std::vector<RunArray<T>> memory;
    LossData loss;
    std::vector<EvaluatedLoss> evaluated;
    std::vector<Measure> measures;  ///< what is wanted of these
    /// (in): evaluated losses see products P as P (1 - m m^T), for runs are trained in coordinates
    /// mirrored by m; no data: they see P.
    RunArray<double> mirror;
    RunArray<double> direction;           ///< (in): what angles are measured to; no data: none
    RunArray<double> weight_decay;        ///< (n_layers)
    RunArray<double> stop_loss;           ///< scalar; no data: no such rule
    RunArray<double> stop_gradient_norm;  ///< scalar; no data: no such rule
    /// Per run, not 0: leave it as it is; null: all are to be trained.
    const std::int8_t* ended = nullptr;
};

/// Gradient descent.
struct Descent {
    RunArray<double> step_size;  ///< (n_layers): with a rule, what it gives is multiplied by this
    StepKind rule = StepKind::constant;
    RunArray<double> scale;       ///< scalar, of a rule
    RunArray<double> parameters;  ///< of a rule, as StepParameters
    Index n_boundaries = 0;       ///< among these
    RunArray<double> elapsed;     ///< scalar, of a rule: the sum of the steps so far
    Update update;
    const Draws* draws = nullptr;        ///< null: every step sees all of the loss
    const WeightNoise* noise = nullptr;  ///< null: none
    /// Scalar: gradients are taken that far up the gradient of the loss; no data: where the weights
    /// are. The policy must be one that stores gradients.
    RunArray<double> radius;
    Index check_every = 1;  ///< stop rules are looked at on multiples of this step count
    Index first_step = 0;   ///< steps already taken
    Index n_steps = 0;      ///< steps to take now
    /// Increasing, within first_step .. first_step + n_steps.
    std::vector<std::int64_t> record_steps;
};

/// By which method a flow is integrated: one of high order; one for stiff flows, which takes long
/// steps where most directions have come to rest; or one after the other, as each run asks for it.
enum class FlowKind : int { exact = 0, automatic = 1, stiff = 2 };

/// Gradient flow, by explicit Runge-Kutta methods with a step size per run. Stop rules are looked
/// at after every step that was accepted.
struct Flow {
    FlowKind kind = FlowKind::exact;
    bool log_time = false;  ///< all times here are log(1 + time)
    RunArray<double> rtol;  ///< scalar: relative to the norm of a layer, per step
    RunArray<double> atol;  ///< scalar: on the root mean square entry of a layer
    double begin = 0;
    double until = 0;
    RunArray<double> from;  ///< scalar: where a run is, at or before `begin`; no data: there
    Index max_steps = 0;    ///< of a run, refused ones included
    std::vector<double> record_times;  ///< increasing, within begin .. until
};

/// Where results go. Arrays are (run, record, ...) in C order; null: not wanted. Entries after the
/// end of a run are not written, the caller fills them beforehand.
template <class T>
struct Results {
    std::vector<double*> observed;  ///< by place in observables(); empty: none are wanted
    /// The same of every evaluated loss: of observables that are of a loss.
    std::vector<std::vector<double*>> evaluated;
    std::vector<double*> measured;  ///< the same of every measure; null where it only stops
    std::vector<T*> weights;        ///< per layer; empty: not wanted
    double* time = nullptr;         ///< of a descent with a step rule: the sum of its steps

    std::vector<T*> final_weights;          ///< per layer, (run, size)
    std::vector<T*> final_memory;           ///< likewise, in the order of the problem's
    std::int8_t* status = nullptr;          ///< (run)
    std::int64_t* stopped_at = nullptr;     ///< (run): the last step, of a descent
    double* stopped_time = nullptr;         ///< (run): of a flow
    double* elapsed = nullptr;              ///< (run): of a descent with a step rule
    std::int64_t* n_steps_taken = nullptr;  ///< (run): of a flow

    /// Where an observable goes.
    double*& to(const std::string& name) {
        observed.resize(observables().size());
        return observed[observable_of(name)];
    }
};

/// Train every run. Returns false when poll asked to stop; results are then incomplete.
///
/// The bits of a run depend on nothing but that run: not on n_threads, on its place in the batch,
/// or on its neighbours.
template <class T>
bool train(const Problem<T>& problem, const Descent& descent, const Results<T>& results,
           const Control& control);

extern template bool train<double>(const Problem<double>&, const Descent&, const Results<double>&,
                                   const Control&);
extern template bool train<float>(const Problem<float>&, const Descent&, const Results<float>&,
                                  const Control&);

/// The same along the gradient flow. Progress is polled in thousandths of the time of a run.
bool flow(const Problem<double>& problem, const Flow& method, const Results<double>& results,
          const Control& control);

/// Write to the one record of every run what a training would record of its weights, with the same
/// bits, and nothing else. Returns false when poll asked to stop.
template <class T>
bool observe(const Problem<T>& problem, const Results<T>& results, const Control& control);

extern template bool observe<double>(const Problem<double>&, const Results<double>&,
                                     const Control&);
extern template bool observe<float>(const Problem<float>&, const Results<float>&, const Control&);

}  // namespace linnet
