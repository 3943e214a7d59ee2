#include "linnet/recursions.hpp"

#include <pybind11/stl.h>

#include "arrays.hpp"
#include "register.hpp"
#include "unlocked.hpp"

namespace linnet::bindings {

namespace {

void check_steps(const std::vector<std::int64_t>& steps) {
    std::int64_t previous = 0;
    for (const std::int64_t step : steps) {
        if (step < previous)
            throw py::value_error("steps must be in increasing order and not negative");
        previous = step;
    }
}

/// Call work(stop) without the interpreter's lock; signals are looked at now and then.
template <class Work>
void run(const Work& work) {
    bool raised = false;
    const StopAsking stop = [&] {
        return with_lock([&] {
            raised = PyErr_CheckSignals() != 0;
            return raised;
        });
    };
    without_lock([&] { work(stop); });
    if (raised) throw py::error_already_set();
}

}  // namespace

void register_recursions(py::module_& m) {
    m.def(
        "logit_descent",
        [](const Numbers& logit, const Numbers& rate, const std::vector<std::int64_t>& steps) {
            check_steps(steps);
            const Index n = logit.size();
            Numbers out(std::vector<Index>{n, static_cast<Index>(steps.size())});
            double* const to = out.mutable_data();
            const double* const z = values(logit, "logit", n);
            const double* const x = values(rate, "rate", n);
            run([&](const StopAsking& stop) { logit_descent(n, z, x, steps, to, stop); });
            return out;
        },
        py::kw_only(), py::arg("logit"), py::arg("rate"), py::arg("steps"),
        "Balanced modes of two layers under gradient descent, as logit(1 - lam w / sigma).");
    m.def(
        "factor_descent",
        [](const Numbers& first, const Numbers& second, const Numbers& step_size,
           const Numbers& sigma, const Numbers& lam, const std::vector<std::int64_t>& steps) {
            check_steps(steps);
            const Index n = first.size();
            Numbers out(std::vector<Index>{2, n, static_cast<Index>(steps.size())});
            double* const to = out.mutable_data();
            const double* const a = values(first, "first", n);
            const double* const b = values(second, "second", n);
            const double* const eta = values(step_size, "step_size", n);
            const double* const s = values(sigma, "sigma", n);
            const double* const l = values(lam, "lam", n);
            run([&](const StopAsking& stop) {
                factor_descent(n, a, b, eta, s, l, steps, to, stop);
            });
            return out;
        },
        py::kw_only(), py::arg("first"), py::arg("second"), py::arg("step_size"), py::arg("sigma"),
        py::arg("lam"), py::arg("steps"), "The two factors of modes under gradient descent.");
    m.def(
        "balanced_descent",
        [](const Numbers& drive, const Numbers& brake, const Numbers& rest, const Numbers& gap,
           Index n_layers, const std::vector<std::int64_t>& steps) {
            check_steps(steps);
            if (n_layers < 2) throw py::value_error("n_layers must be at least 2");
            const Index n = drive.size();
            Numbers out(std::vector<Index>{2, n, static_cast<Index>(steps.size())});
            double* const to = out.mutable_data();
            const double* const p = values(drive, "drive", n);
            const double* const q = values(brake, "brake", n);
            const double* const r = values(rest, "rest", n);
            const double* const g = values(gap, "gap", n);
            run([&](const StopAsking& stop) {
                balanced_descent(n, p, q, r, g, n_layers, steps, to, stop);
            });
            return out;
        },
        py::kw_only(), py::arg("drive"), py::arg("brake"), py::arg("rest"), py::arg("gap"),
        py::arg("n_layers"), py::arg("steps"),
        "The factor that all layers of a balanced mode share, and what remains near rest.");
    m.def(
        "momentum_descent",
        [](const Numbers& drive, const Numbers& brake, const Numbers& rest, const Numbers& gap,
           const Numbers& momentum, bool nesterov, Index n_layers,
           const std::vector<std::int64_t>& steps) {
            check_steps(steps);
            if (n_layers < 1) throw py::value_error("n_layers must be at least 1");
            const Index n = drive.size();
            Numbers out(std::vector<Index>{2, n, static_cast<Index>(steps.size())});
            double* const to = out.mutable_data();
            const double* const p = values(drive, "drive", n);
            const double* const q = values(brake, "brake", n);
            const double* const r = values(rest, "rest", n);
            const double* const g = values(gap, "gap", n);
            const double* const mu = values(momentum, "momentum", n);
            run([&](const StopAsking& stop) {
                momentum_descent(n, p, q, r, g, mu, nesterov, n_layers, steps, to, stop);
            });
            return out;
        },
        py::kw_only(), py::arg("drive"), py::arg("brake"), py::arg("rest"), py::arg("gap"),
        py::arg("momentum"), py::arg("nesterov"), py::arg("n_layers"), py::arg("steps"),
        "The same with momentum, of one layer, too.");
}

}  // namespace linnet::bindings
