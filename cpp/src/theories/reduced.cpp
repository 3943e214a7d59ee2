#include "linnet/reduced.hpp"

#include "base/tasks.hpp"
#include "theories/reduced_descent.hpp"
#include "theories/reduced_flow.hpp"
#include "theories/reduced_layers.hpp"

namespace linnet {

namespace {

using namespace reduced;

/// Call body(flow) with the flow of a run.
template <class Body>
void with_flow(const ReducedRuns& runs, const RadialFunctions& law, Index run, double rtol,
               const Body& body) {
    const Pulls pulls(law, runs.label_noise[run]);
    if (runs.n_layers == 1) {
        OneLayerFlow flow(OneLayer{pulls}, runs.s[run], runs.norm[run], rtol);
        body(flow);
    } else {
        LayersFlow flow(pulls, runs.n_layers, runs.s[run], runs.norm[run], rtol);
        body(flow);
    }
}

template <StepKind kind, bool deep>
bool descend(const ReducedRuns& runs, const ReducedRule& rule,
             const std::vector<std::int64_t>& steps, const ReducedResults& results,
             const ReducedTurns& turns, const Control& control) {
    constexpr std::int64_t ask_every = 1 << 14;
    const RadialFunctions law(*runs.table);
    const auto n_steps = static_cast<Index>(steps.size());
    return for_each_task(runs.n_runs, control, [&](Index run, Pulse& pulse) {
        DescentRun<kind, deep> descent(Pulls(law, runs.label_noise[run]), runs.n_layers,
                                       rule.scale[run],
                                       {rule.parameters + run * rule.n_parameters,
                                        StepParameters::boundaries_of(rule.n_parameters)});
        descent.start(runs.s[run], runs.norm[run]);
        std::int64_t at = 0;
        for (Index k = 0; k < n_steps; ++k) {
            const std::int64_t until = steps[static_cast<std::size_t>(k)];
            while (at < until) {
                const std::int64_t to = std::min(until, at + ask_every);
                for (; at < to; ++at) descent.advance(at);
                if (pulse()) return;
            }
            results.s[run * n_steps + k] = descent.s();
            results.log_norm[run * n_steps + k] = descent.log_norm();
            results.time[run * n_steps + k] = descent.time();
        }
        descent.finish(at);
        const bool turned = descent.turn() >= 0;
        turns.step[run] = descent.turn();
        turns.time[run] = turned ? descent.at_turn().time : nan;
        turns.s[run] = turned ? descent.s(descent.at_turn()) : nan;
        turns.log_norm[run] = turned ? descent.log_norm(descent.at_turn()) : nan;
    });
}

}  // namespace

bool reduced_flow(const ReducedRuns& runs, double rtol, const std::vector<double>& times,
                  const ReducedResults& results, const Control& control) {
    const RadialFunctions law(*runs.table);
    const auto n_times = static_cast<Index>(times.size());
    return for_each_task(runs.n_runs, control, [&](Index run, Pulse& pulse) {
        with_flow(runs, law, run, rtol, [&](auto& flow) {
            const auto write = [&](std::size_t k, double s, double log_norm) {
                results.s[run * n_times + static_cast<Index>(k)] = s;
                results.log_norm[run * n_times + static_cast<Index>(k)] = log_norm;
            };
            flow.record(times, write, [&] { return pulse(); });
        });
    });
}

bool reduced_flow_turn(const ReducedRuns& runs, double rtol, const ReducedTurns& turns,
                       const Control& control) {
    const RadialFunctions law(*runs.table);
    return for_each_task(runs.n_runs, control, [&](Index run, Pulse& pulse) {
        with_flow(runs, law, run, rtol, [&](auto& flow) {
            Turn turn{};
            if (!flow.find_turn(turn, [&] { return pulse(); })) return;
            turns.time[run] = turn.time;
            turns.s[run] = turn.s;
            turns.log_norm[run] = turn.log_norm;
        });
    });
}

bool reduced_flow_time(const ReducedRuns& runs, double rtol, const double* to_s, double* time,
                       const Control& control) {
    const RadialFunctions law(*runs.table);
    return for_each_task(runs.n_runs, control, [&](Index run, Pulse& pulse) {
        LayersFlow flow(Pulls(law, runs.label_noise[run]), runs.n_layers, runs.s[run],
                        runs.norm[run], rtol);
        time[run] = flow.time_to(runs.s[run] - to_s[run], [&] { return pulse(); });
    });
}

bool reduced_descent(const ReducedRuns& runs, const ReducedRule& rule,
                     const std::vector<std::int64_t>& steps, const ReducedResults& results,
                     const ReducedTurns& turns, const Control& control) {
    const auto go = [&](auto kind) {
        constexpr StepKind k = decltype(kind)::value;
        return runs.n_layers == 1 ? descend<k, false>(runs, rule, steps, results, turns, control)
                                  : descend<k, true>(runs, rule, steps, results, turns, control);
    };
    switch (rule.kind) {
        case StepKind::power:
            return go(std::integral_constant<StepKind, StepKind::power>{});
        case StepKind::geometric:
            return go(std::integral_constant<StepKind, StepKind::geometric>{});
        case StepKind::loss_normalized:
            return go(std::integral_constant<StepKind, StepKind::loss_normalized>{});
        case StepKind::norm_proportional:
            return go(std::integral_constant<StepKind, StepKind::norm_proportional>{});
        case StepKind::gradient_normalized:
            return go(std::integral_constant<StepKind, StepKind::gradient_normalized>{});
        case StepKind::alignment:
            return descend<StepKind::alignment, false>(runs, rule, steps, results, turns, control);
        case StepKind::piecewise:
            return go(std::integral_constant<StepKind, StepKind::piecewise>{});
        case StepKind::cosine:
            return go(std::integral_constant<StepKind, StepKind::cosine>{});
        case StepKind::inverse_sqrt:
            return go(std::integral_constant<StepKind, StepKind::inverse_sqrt>{});
        case StepKind::constant:
            break;
    }
    return go(std::integral_constant<StepKind, StepKind::constant>{});
}

}  // namespace linnet
