#include "linnet/reduced.hpp"

#include <pybind11/stl.h>

#include "arrays.hpp"
#include "interruptible.hpp"
#include "losses/radial_functions.hpp"
#include "register.hpp"
#include "spherical_table.hpp"

namespace linnet::bindings {

namespace {

template <class T>
std::vector<T> records_of(const Packed<T>& array, const char* message) {
    require(array.ndim() == 1, message);
    T previous = 0;
    for (Index k = 0; k < array.size(); ++k) {
        const T record = array.data()[k];
        require(record >= previous && record <= std::numeric_limits<T>::max(), message);
        previous = record;
    }
    return {array.data(), array.data() + array.size()};
}

/// What runs start from; the table and the arrays must outlive it.
ReducedRuns runs_of(const SphericalTable& table, Index n_layers, const Numbers& s,
                    const Numbers& norm, const Numbers& label_noise) {
    require(n_layers >= 1, "n_layers must be at least 1");
    ReducedRuns runs;
    runs.table = &table;
    runs.n_layers = n_layers;
    runs.n_runs = s.size();
    runs.s = values(s, "s", runs.n_runs);
    runs.norm = values(norm, "norm", runs.n_runs);
    runs.label_noise = values(label_noise, "label_noise", runs.n_runs);
    for (Index i = 0; i < runs.n_runs; ++i) {
        require(!std::isnan(runs.s[i]), "s must not be NaN");
        require(std::isfinite(runs.norm[i]) &&
                    (runs.norm[i] > 0 || (n_layers == 1 && runs.norm[i] == 0)),
                "norm must be finite and positive, or zero with one layer");
        require(runs.label_noise[i] >= 0 && runs.label_noise[i] < 0.5,
                "label_noise must be in [0, 1/2)");
    }
    return runs;
}

}  // namespace

void register_reduced(py::module_& m) {
    m.def(
        "radial_functions",
        [](const py::tuple& fields, const Numbers& r) {
            const SphericalTable table = spherical_table_of(fields);
            const RadialFunctions law(table);
            Numbers h(r.size());
            Numbers q(r.size());
            Numbers loss(r.size());
            for (Index i = 0; i < r.size(); ++i) {
                const auto at = law.hq(r.data()[i]);
                h.mutable_data()[i] = at.h;
                q.mutable_data()[i] = at.q;
                loss.mutable_data()[i] = law.loss(r.data()[i]);
            }
            return py::make_tuple(h, q, loss);
        },
        py::arg("table"), py::arg("r"), "h, q and H at norms, all in one axis.");
    m.def(
        "reduced_flow",
        [](const py::tuple& fields, Index n_layers, const Numbers& s, const Numbers& norm,
           const Numbers& label_noise, double rtol, const Numbers& at, int n_threads) {
            const SphericalTable table = spherical_table_of(fields);
            const ReducedRuns runs = runs_of(table, n_layers, s, norm, label_noise);
            require(rtol >= 1e-13 && rtol <= 1e-2, "rtol must be in [1e-13, 1e-2]");
            const std::vector<double> times =
                records_of(at, "times must be finite, in increasing order and not negative");
            const std::vector<Index> shape = {runs.n_runs, static_cast<Index>(times.size())};
            py::array_t<double> out_s = nan_array<double>(shape, {});
            py::array_t<double> out_norm = nan_array<double>(shape, {});
            ReducedResults results;
            results.s = out_s.mutable_data();
            results.log_norm = out_norm.mutable_data();
            run_interruptible(n_threads, py::none(), [&](const Control& control) {
                reduced_flow(runs, rtol, times, results, control);
            });
            return py::make_tuple(out_s, out_norm);
        },
        py::kw_only(), py::arg("table"), py::arg("n_layers"), py::arg("s"), py::arg("norm"),
        py::arg("label_noise"), py::arg("rtol"), py::arg("times"), py::arg("n_threads"),
        "Half-angle logarithm and logarithm of the norm along the flow, (run, time).");
    m.def(
        "reduced_flow_turn",
        [](const py::tuple& fields, Index n_layers, const Numbers& s, const Numbers& norm,
           const Numbers& label_noise, double rtol, int n_threads) {
            const SphericalTable table = spherical_table_of(fields);
            const ReducedRuns runs = runs_of(table, n_layers, s, norm, label_noise);
            require(rtol >= 1e-13 && rtol <= 1e-2, "rtol must be in [1e-13, 1e-2]");
            py::array_t<double> out[3];
            for (auto& array : out) array = nan_array<double>({runs.n_runs}, {});
            ReducedTurns turns;
            turns.time = out[0].mutable_data();
            turns.s = out[1].mutable_data();
            turns.log_norm = out[2].mutable_data();
            run_interruptible(n_threads, py::none(), [&](const Control& control) {
                reduced_flow_turn(runs, rtol, turns, control);
            });
            return py::make_tuple(out[0], out[1], out[2]);
        },
        py::kw_only(), py::arg("table"), py::arg("n_layers"), py::arg("s"), py::arg("norm"),
        py::arg("label_noise"), py::arg("rtol"), py::arg("n_threads"),
        "Where the norm is the least: time, half-angle logarithm, logarithm of the norm.");
    m.def(
        "reduced_flow_time",
        [](const py::tuple& fields, Index n_layers, const Numbers& s, const Numbers& norm,
           const Numbers& label_noise, double rtol, const Numbers& to_s, int n_threads) {
            const SphericalTable table = spherical_table_of(fields);
            const ReducedRuns runs = runs_of(table, n_layers, s, norm, label_noise);
            require(rtol >= 1e-13 && rtol <= 1e-2, "rtol must be in [1e-13, 1e-2]");
            const double* const to = values(to_s, "to_s", runs.n_runs);
            for (Index i = 0; i < runs.n_runs; ++i)
                require(std::isfinite(runs.s[i]) && to[i] <= runs.s[i] && std::isfinite(to[i]) &&
                            runs.norm[i] > 0,
                        "s and to_s must be finite, to_s not larger, and norm positive");
            py::array_t<double> time = nan_array<double>({runs.n_runs}, {});
            double* const out = time.mutable_data();
            run_interruptible(n_threads, py::none(), [&](const Control& control) {
                reduced_flow_time(runs, rtol, to, out, control);
            });
            return time;
        },
        py::kw_only(), py::arg("table"), py::arg("n_layers"), py::arg("s"), py::arg("norm"),
        py::arg("label_noise"), py::arg("rtol"), py::arg("to_s"), py::arg("n_threads"),
        "Times until the half-angle logarithm is to_s.");
    m.def(
        "reduced_descent",
        [](const py::tuple& fields, Index n_layers, const Numbers& s, const Numbers& norm,
           const Numbers& label_noise, int kind, const Numbers& scale, const Numbers& parameters,
           const Packed<std::int64_t>& at, int n_threads) {
            const SphericalTable table = spherical_table_of(fields);
            const ReducedRuns runs = runs_of(table, n_layers, s, norm, label_noise);
            const std::vector<std::int64_t> steps =
                records_of(at, "steps must be in increasing order and not negative");
            require(kind >= 0 && kind <= static_cast<int>(last_step_kind),
                    "kind must be the number of a step rule");
            ReducedRule rule;
            rule.kind = static_cast<StepKind>(kind);
            require(rule.kind != StepKind::alignment || n_layers == 1,
                    "the alignment rule is for one layer");
            rule.scale = values(scale, "scale", runs.n_runs);
            rule.n_parameters = parameters.ndim() == 2 ? parameters.shape(1) : 0;
            require(rule.n_parameters >= StepParameters::n_numbers &&
                        parameters.shape(0) == runs.n_runs,
                    "parameters must be those of a step rule, for every run");
            rule.parameters = parameters.data();
            const std::vector<Index> shape = {runs.n_runs, static_cast<Index>(steps.size())};
            py::array_t<double> out[6];
            for (int i = 0; i < 6; ++i)
                out[i] = nan_array<double>(i < 3 ? shape : std::vector<Index>{runs.n_runs}, {});
            py::array_t<std::int64_t> turn(runs.n_runs);
            ReducedResults results;
            results.s = out[0].mutable_data();
            results.log_norm = out[1].mutable_data();
            results.time = out[2].mutable_data();
            ReducedTurns turns;
            turns.time = out[3].mutable_data();
            turns.s = out[4].mutable_data();
            turns.log_norm = out[5].mutable_data();
            turns.step = turn.mutable_data();
            run_interruptible(n_threads, py::none(), [&](const Control& control) {
                reduced_descent(runs, rule, steps, results, turns, control);
            });
            return py::make_tuple(out[0], out[1], out[2], turn, out[3], out[4], out[5]);
        },
        py::kw_only(), py::arg("table"), py::arg("n_layers"), py::arg("s"), py::arg("norm"),
        py::arg("label_noise"), py::arg("kind"), py::arg("scale"), py::arg("parameters"),
        py::arg("steps"), py::arg("n_threads"),
        "The same along gradient descent, with times, and where the norm first stops shrinking.");
}

}  // namespace linnet::bindings
