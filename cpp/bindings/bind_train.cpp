#include <pybind11/stl.h>

#include <map>
#include <set>

#include "arrays.hpp"
#include "register.hpp"

namespace linnet::bindings {

namespace {

/// The arguments of train() that do not depend on the number type.
struct Arguments {
    std::vector<Index> widths, run_shape;
    std::vector<py::array> weights;
    py::array input_cov, cross_cov, output_power, step_size, weight_decay;
    std::optional<py::array> stop_loss, stop_gradient_norm;
    Index check_every, first_step, n_steps;
    std::optional<py::array_t<std::int8_t>> ended;
    std::vector<std::int64_t> record_steps;
    std::set<std::string> observables;
    int n_threads;
    py::object progress;
};

void check(const Arguments& a) {
    const auto require = [](bool condition, const std::string& text) {
        if (!condition) throw py::value_error(text);
    };
    require(a.widths.size() >= 2, "widths must name at least an input and an output width");
    for (const Index width : a.widths)
        require(width >= 1, "widths must be positive, got " + std::to_string(width));
    for (const Index extent : a.run_shape) require(extent >= 0, "run_shape must not be negative");
    require(a.weights.size() + 1 == a.widths.size(), "weights must have one array per layer");
    require(a.check_every >= 1,
            "check_every must be at least 1, got " + std::to_string(a.check_every));
    require(a.first_step >= 0 && a.n_steps >= 0, "first_step and n_steps must not be negative");
    require(a.n_steps <= (Index{1} << 62) - a.first_step, "n_steps is too large");
    require(a.n_threads >= 1, "n_threads must be at least 1, got " + std::to_string(a.n_threads));
    std::int64_t previous = a.first_step - 1;
    for (const std::int64_t step : a.record_steps) {
        require(step > previous && step <= a.first_step + a.n_steps,
                "record_steps must increase and lie within first_step ... first_step + n_steps");
        previous = step;
    }
    static const std::set<std::string> known{"loss",         "singular_values", "product",
                                             "weights",      "layer_norms",     "imbalance",
                                             "gradient_norm"};
    for (const std::string& name : a.observables)
        require(known.count(name) == 1, "unknown observable '" + name + "'");
}

template <class T>
py::dict train_as(const Arguments& a) {
    const auto n_layers = static_cast<Index>(a.widths.size()) - 1;
    const Index n_in = a.widths.front();
    const Index n_out = a.widths.back();
    Problem<T> problem;
    problem.widths = a.widths;
    problem.run_shape = a.run_shape;
    for (std::size_t l = 0; l + 1 < a.widths.size(); ++l) {
        const std::string name = "weights[" + std::to_string(l) + "]";
        problem.weights.push_back(
            run_array<T>(a.weights[l], name.c_str(), a.run_shape, {a.widths[l + 1], a.widths[l]}));
    }
    problem.input_cov = run_array<double>(a.input_cov, "input_cov", a.run_shape, {n_in, n_in});
    problem.cross_cov = run_array<double>(a.cross_cov, "cross_cov", a.run_shape, {n_out, n_in});
    problem.output_power = run_array<double>(a.output_power, "output_power", a.run_shape, {});
    problem.step_size = run_array<double>(a.step_size, "step_size", a.run_shape, {n_layers});
    problem.weight_decay = run_array<double>(a.weight_decay, "weight_decay", a.run_shape, {});
    if (a.stop_loss)
        problem.stop_loss = run_array<double>(*a.stop_loss, "stop_loss", a.run_shape, {});
    if (a.stop_gradient_norm) {
        problem.stop_gradient_norm =
            run_array<double>(*a.stop_gradient_norm, "stop_gradient_norm", a.run_shape, {});
    }
    problem.check_every = a.check_every;
    problem.first_step = a.first_step;
    problem.n_steps = a.n_steps;
    if (a.ended) {
        if (shape_of(*a.ended) != a.run_shape || (a.ended->flags() & py::array::c_style) == 0) {
            throw py::value_error("ended must be a contiguous array of shape " +
                                  shape_text(a.run_shape));
        }
        problem.ended = a.ended->data();
    }

    Results<T> results;
    results.record_steps = a.record_steps;
    const auto n_records = static_cast<Index>(a.record_steps.size());
    py::dict observed;
    const auto observe = [&](const char* name, double*& to, std::vector<Index> inner) {
        if (a.observables.count(name) == 0) return;
        inner.insert(inner.begin(), n_records);
        auto array = nan_array<double>(a.run_shape, inner);
        to = array.mutable_data();
        observed[name] = std::move(array);
    };
    observe("loss", results.loss, {});
    observe("singular_values", results.singular_values, {std::min(n_in, n_out)});
    observe("product", results.product, {n_out, n_in});
    observe("layer_norms", results.layer_norms, {n_layers});
    observe("imbalance", results.imbalance, {n_layers - 1});
    observe("gradient_norm", results.gradient_norm, {});
    py::list final_weights;
    py::list recorded_weights;
    for (std::size_t l = 0; l + 1 < a.widths.size(); ++l) {
        auto last = nan_array<T>(a.run_shape, {a.widths[l + 1], a.widths[l]});
        results.final_weights.push_back(last.mutable_data());
        final_weights.append(std::move(last));
        if (a.observables.count("weights") == 1) {
            auto history = nan_array<T>(a.run_shape, {n_records, a.widths[l + 1], a.widths[l]});
            results.weights.push_back(history.mutable_data());
            recorded_weights.append(std::move(history));
        }
    }
    if (a.observables.count("weights") == 1) observed["weights"] = py::tuple(recorded_weights);
    py::array_t<std::int8_t> status(a.run_shape);
    py::array_t<std::int64_t> stopped_at(a.run_shape);
    results.status = status.mutable_data();
    results.stopped_at = stopped_at.mutable_data();

    Control control;
    control.n_threads = a.n_threads;
    bool raised = false;
    control.poll = [&](std::int64_t done) {
        const py::gil_scoped_acquire gil;
        // An error is left set for the calling thread to pick up: nothing is thrown across the workers. The caller may
        // poll again while it waits for them.
        if (raised) return true;
        if (PyErr_CheckSignals() != 0) {
            raised = true;
        } else if (!a.progress.is_none()) {
            PyObject* const result =
                PyObject_CallFunction(a.progress.ptr(), "L", static_cast<long long>(done));
            raised = result == nullptr;
            Py_XDECREF(result);
        }
        return raised;
    };
    {
        // The views above stay valid: `a` holds the arrays, and no reference count is touched in here.
        const py::gil_scoped_release release;
        train(problem, results, control);
    }
    if (raised) throw py::error_already_set();

    py::dict out;
    out["observables"] = std::move(observed);
    out["weights"] = py::tuple(final_weights);
    out["status"] = std::move(status);
    out["stopped_at"] = std::move(stopped_at);
    return out;
}

}  // namespace

void register_train(py::module_& m) {
    m.def(
        "train",
        [](std::vector<Index> widths, std::vector<Index> run_shape, std::vector<py::array> weights,
           py::array input_cov, py::array cross_cov, py::array output_power, py::array step_size,
           py::array weight_decay, std::optional<py::array> stop_loss,
           std::optional<py::array> stop_gradient_norm, Index check_every, Index first_step,
           Index n_steps, std::optional<py::array_t<std::int8_t>> ended,
           std::vector<std::int64_t> record_steps, std::set<std::string> observables, int n_threads,
           py::object progress) {
            const Arguments a{std::move(widths),
                              std::move(run_shape),
                              std::move(weights),
                              std::move(input_cov),
                              std::move(cross_cov),
                              std::move(output_power),
                              std::move(step_size),
                              std::move(weight_decay),
                              std::move(stop_loss),
                              std::move(stop_gradient_norm),
                              check_every,
                              first_step,
                              n_steps,
                              std::move(ended),
                              std::move(record_steps),
                              std::move(observables),
                              n_threads,
                              std::move(progress)};
            check(a);
            return py::isinstance<py::array_t<float>>(a.weights.front()) ? train_as<float>(a)
                                                                         : train_as<double>(a);
        },
        py::kw_only(), py::arg("widths"), py::arg("run_shape"), py::arg("weights"),
        py::arg("input_cov"), py::arg("cross_cov"), py::arg("output_power"), py::arg("step_size"),
        py::arg("weight_decay"), py::arg("stop_loss"), py::arg("stop_gradient_norm"),
        py::arg("check_every"), py::arg("first_step"), py::arg("n_steps"),
        py::arg("ended").noconvert(), py::arg("record_steps"), py::arg("observables"),
        py::arg("n_threads"), py::arg("progress"),
        "Train a batch of dense linear networks; see linnet_fast.train.");
    m.def("status_messages", [] {
        std::map<int, std::string> messages;
        for (const Status status : {Status::completed, Status::converged, Status::diverged}) {
            messages[static_cast<int>(status)] = message(status);
        }
        return messages;
    });
}

}  // namespace linnet::bindings
