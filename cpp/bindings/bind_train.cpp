#include <pybind11/stl.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "arrays.hpp"
#include "register.hpp"

namespace linnet::bindings {

namespace {

/// The arguments that do not depend on the method or on the number type.
struct Arguments {
    Chain chain;
    std::vector<std::vector<Index>> shapes;  // of the weights
    std::vector<Index> run_shape;
    std::vector<py::array> weights;
    py::array input_cov, cross_cov, output_power, weight_decay;
    std::optional<py::array> stop_loss, stop_gradient_norm;
    std::optional<py::array_t<std::int8_t>> ended;
    std::set<std::string> observables;
    int n_threads;
    py::object progress;
};

void require(bool condition, const std::string& text) {
    if (!condition) throw py::value_error(text);
}

/// A factor as Python describes it: a tuple (rows, cols, array, plus_identity, scale) of a dense one, else (rows, cols,
/// array, (row, col, weight, coefficient)) with an array each.
Factor factor_of(const py::tuple& t) {
    Factor factor;
    factor.rows = t[0].cast<Index>();
    factor.cols = t[1].cast<Index>();
    factor.array = t[2].cast<int>();
    factor.dense = t.size() == 5;
    if (factor.dense) {
        factor.plus_identity = t[3].cast<bool>();
        factor.scale = t[4].cast<double>();
        return factor;
    }
    const auto lists = t[3].cast<py::tuple>();
    const auto integers = [&](int k) {
        return lists[static_cast<std::size_t>(k)].cast<py::array_t<std::int32_t, py::array::c_style>>();
    };
    const auto rows = integers(0);
    const auto cols = integers(1);
    const auto weights = integers(2);
    const auto coefficients = lists[3].cast<py::array_t<double, py::array::c_style>>();
    const Index n = rows.size();
    require(cols.size() == n && weights.size() == n && coefficients.size() == n,
            "the entries of a factor must have a row, a column, a weight and a coefficient each");
    for (Index e = 0; e < n; ++e) {
        factor.entries.push_back(
            {rows.data()[e], cols.data()[e], weights.data()[e], coefficients.data()[e]});
    }
    return factor;
}

Chain chain_of(const py::list& factors, const std::vector<std::vector<Index>>& shapes) {
    constexpr Index most = std::numeric_limits<std::int32_t>::max();
    Chain chain;
    for (const auto& shape : shapes) {
        Index size = 1;
        for (const Index extent : shape) {
            require(extent >= 1, "extents of weights must be positive");
            require(size <= (Index{1} << 62) / extent, "weights are too many");
            size *= extent;
        }
        chain.sizes.push_back(size);
    }
    std::vector<char> is_used(shapes.size(), 0);
    for (const py::handle item : factors) {
        Factor factor = factor_of(py::reinterpret_borrow<py::tuple>(item));
        require(factor.rows >= 1 && factor.cols >= 1,
                "widths must be positive, got " + std::to_string(factor.rows) + " and " +
                    std::to_string(factor.cols));
        require(chain.factors.empty() || chain.factors.back().rows == factor.cols,
                "a factor must have as many columns as the one before it has rows");
        require(factor.array < static_cast<int>(shapes.size()), "a factor's array does not exist");
        const Index size =
            factor.array < 0 ? 0 : chain.sizes[static_cast<std::size_t>(factor.array)];
        if (factor.array >= 0) is_used[static_cast<std::size_t>(factor.array)] = 1;
        if (factor.dense) {
            require(factor.array >= 0 && factor.rows <= most && factor.cols <= most &&
                        size == factor.rows * factor.cols,
                    "a dense factor must have an array of its shape");
            require(!factor.plus_identity || factor.rows == factor.cols,
                    "a factor with an identity must be square");
        }
        for (const Factor::Entry& entry : factor.entries) {
            require(entry.row >= 0 && entry.row < factor.rows && entry.col >= 0 &&
                        entry.col < factor.cols && entry.weight >= -1 && entry.weight < size &&
                        std::isfinite(entry.coefficient),
                    "an entry of a factor is out of range");
        }
        chain.factors.push_back(std::move(factor));
    }
    require(!chain.factors.empty(), "there must be at least one factor");
    for (const char used : is_used) require(used != 0, "every array must belong to a factor");
    const Index n_vectors = std::min(chain.n_inputs(), chain.n_outputs());
    for (const Factor& factor : chain.factors) {
        // Places within a matrix, padded to whole vectors, are kept in 32 bits.
        const Index wide = std::max(factor.rows, factor.cols) + 64;
        require(factor.dense || (wide <= most / (n_vectors + 64) && factor.entries.size() <= most),
                "a factor given by entries is too large");
    }
    return chain;
}

void check(const Arguments& a) {
    for (const Index extent : a.run_shape) require(extent >= 0, "run_shape must not be negative");
    require(!a.weights.empty() && a.weights.size() == a.shapes.size(),
            "weights must have one array per shape");
    require(a.n_threads >= 1, "n_threads must be at least 1, got " + std::to_string(a.n_threads));
    static const std::set<std::string> known{"loss",         "singular_values", "product",
                                             "weights",      "layer_norms",     "imbalance",
                                             "gradient_norm"};
    for (const std::string& name : a.observables)
        require(known.count(name) == 1, "unknown observable '" + name + "'");
}

/// Records must increase and lie within a training.
template <class T>
void check_records(const std::vector<T>& records, T first, T last, const char* text) {
    for (std::size_t k = 0; k < records.size(); ++k) {
        const bool increases = k == 0 || records[k] > records[k - 1];
        require(increases && records[k] >= first && records[k] <= last, text);
    }
}

void check(const Arguments& a, const Descent& d) {
    check(a);
    require(d.check_every >= 1,
            "check_every must be at least 1, got " + std::to_string(d.check_every));
    require(d.first_step >= 0 && d.n_steps >= 0, "first_step and n_steps must not be negative");
    require(d.n_steps <= (Index{1} << 62) - d.first_step, "n_steps is too large");
    check_records<std::int64_t>(
        d.record_steps, d.first_step, d.first_step + d.n_steps,
        "record_steps must increase and lie within first_step ... first_step + n_steps");
}

void check(const Arguments& a, const Flow& f) {
    check(a);
    require(std::isfinite(f.begin) && std::isfinite(f.until) && f.begin <= f.until,
            "begin and until must be finite and in order");
    require(f.max_steps >= 1, "max_steps must be at least 1, got " + std::to_string(f.max_steps));
    check_records(f.record_times, f.begin, f.until,
                  "record_times must increase and lie within begin ... until");
}

template <class T>
Problem<T> problem_of(const Arguments& a) {
    const Index n_in = a.chain.n_inputs();
    const Index n_out = a.chain.n_outputs();
    Problem<T> problem;
    problem.chain = a.chain;
    problem.run_shape = a.run_shape;
    for (std::size_t l = 0; l < a.shapes.size(); ++l) {
        const std::string name = "weights[" + std::to_string(l) + "]";
        problem.weights.push_back(
            run_array<T>(a.weights[l], name.c_str(), a.run_shape, a.shapes[l]));
    }
    problem.input_cov = run_array<double>(a.input_cov, "input_cov", a.run_shape, {n_in, n_in});
    problem.cross_cov = run_array<double>(a.cross_cov, "cross_cov", a.run_shape, {n_out, n_in});
    problem.output_power = run_array<double>(a.output_power, "output_power", a.run_shape, {});
    problem.weight_decay = run_array<double>(a.weight_decay, "weight_decay", a.run_shape, {});
    if (a.stop_loss)
        problem.stop_loss = run_array<double>(*a.stop_loss, "stop_loss", a.run_shape, {});
    if (a.stop_gradient_norm) {
        problem.stop_gradient_norm =
            run_array<double>(*a.stop_gradient_norm, "stop_gradient_norm", a.run_shape, {});
    }
    if (a.ended) {
        if (shape_of(*a.ended) != a.run_shape || (a.ended->flags() & py::array::c_style) == 0) {
            throw py::value_error("ended must be a contiguous array of shape " +
                                  shape_text(a.run_shape));
        }
        problem.ended = a.ended->data();
    }
    return problem;
}

/// Results with the arrays they point into.
template <class T>
struct Arrays {
    Results<T> results;
    py::dict out;

    Arrays(const Arguments& a, std::size_t records) {
        const auto n_layers = static_cast<Index>(a.shapes.size());
        const auto n_records = static_cast<Index>(records);
        const Index n_in = a.chain.n_inputs();
        const Index n_out = a.chain.n_outputs();
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
        for (const std::vector<Index>& shape : a.shapes) {
            auto last = nan_array<T>(a.run_shape, shape);
            results.final_weights.push_back(last.mutable_data());
            final_weights.append(std::move(last));
            if (a.observables.count("weights") == 1) {
                std::vector<Index> inner = shape;
                inner.insert(inner.begin(), n_records);
                auto history = nan_array<T>(a.run_shape, inner);
                results.weights.push_back(history.mutable_data());
                recorded_weights.append(std::move(history));
            }
        }
        if (a.observables.count("weights") == 1) observed["weights"] = py::tuple(recorded_weights);
        out["observables"] = std::move(observed);
        out["weights"] = py::tuple(final_weights);
        results.status = add<std::int8_t>("status", a);
    }
    template <class Number>
    Number* add(const char* name, const Arguments& a) {
        py::array_t<Number> array(a.run_shape);
        Number* const data = array.mutable_data();
        out[name] = std::move(array);
        return data;
    }
};

/// Call work(control) without the interpreter's lock, and raise what a signal or the progress function raised.
template <class Work>
void run(const Arguments& a, const Work& work) {
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
        // The views stay valid: `a` holds the arrays, and no reference count is touched in here.
        const py::gil_scoped_release release;
        work(control);
    }
    if (raised) throw py::error_already_set();
}

template <class T>
py::dict train_as(const Arguments& a, Descent descent, const py::array& step_size) {
    const Problem<T> problem = problem_of<T>(a);
    descent.step_size = run_array<double>(step_size, "step_size", a.run_shape,
                                          {static_cast<Index>(a.shapes.size())});
    Arrays<T> arrays(a, descent.record_steps.size());
    arrays.results.stopped_at = arrays.template add<std::int64_t>("stopped_at", a);
    run(a, [&](const Control& control) { train(problem, descent, arrays.results, control); });
    return arrays.out;
}

py::dict train_flow(const Arguments& a, Flow method, const py::array& rtol, const py::array& atol) {
    const Problem<double> problem = problem_of<double>(a);
    method.rtol = run_array<double>(rtol, "rtol", a.run_shape, {});
    method.atol = run_array<double>(atol, "atol", a.run_shape, {});
    Arrays<double> arrays(a, method.record_times.size());
    arrays.results.stopped_time = arrays.add<double>("stopped_at", a);
    arrays.results.n_steps_taken = arrays.add<std::int64_t>("n_steps", a);
    if (method.begin == method.until || a.ended) {  // runs that had ended take no step
        std::fill_n(arrays.results.n_steps_taken, arrays.out["n_steps"].cast<py::array>().size(),
                    0);
        std::fill_n(arrays.results.stopped_time, arrays.out["stopped_at"].cast<py::array>().size(),
                    method.begin);
    }
    run(a, [&](const Control& control) { flow(problem, method, arrays.results, control); });
    return arrays.out;
}

}  // namespace

void register_train(py::module_& m) {
    m.def(
        "train",
        [](const py::list& factors, std::vector<std::vector<Index>> shapes,
           std::vector<Index> run_shape, std::vector<py::array> weights,
           py::array input_cov, py::array cross_cov, py::array output_power, py::array step_size,
           py::array weight_decay, std::optional<py::array> stop_loss,
           std::optional<py::array> stop_gradient_norm, Index check_every, Index first_step,
           Index n_steps, std::optional<py::array_t<std::int8_t>> ended,
           std::vector<std::int64_t> record_steps, std::set<std::string> observables, int n_threads,
           py::object progress) {
            Chain chain = chain_of(factors, shapes);
            const Arguments a{
                std::move(chain),        std::move(shapes),       std::move(run_shape),
                std::move(weights),      std::move(input_cov),    std::move(cross_cov),
                std::move(output_power), std::move(weight_decay), std::move(stop_loss),
                std::move(stop_gradient_norm), std::move(ended),  std::move(observables),
                n_threads,               std::move(progress)};
            Descent descent;
            descent.check_every = check_every;
            descent.first_step = first_step;
            descent.n_steps = n_steps;
            descent.record_steps = std::move(record_steps);
            check(a, descent);
            return py::isinstance<py::array_t<float>>(a.weights.front())
                       ? train_as<float>(a, descent, step_size)
                       : train_as<double>(a, descent, step_size);
        },
        py::kw_only(), py::arg("factors"), py::arg("shapes"), py::arg("run_shape"), py::arg("weights"),
        py::arg("input_cov"), py::arg("cross_cov"), py::arg("output_power"), py::arg("step_size"),
        py::arg("weight_decay"), py::arg("stop_loss"), py::arg("stop_gradient_norm"),
        py::arg("check_every"), py::arg("first_step"), py::arg("n_steps"),
        py::arg("ended").noconvert(), py::arg("record_steps"), py::arg("observables"),
        py::arg("n_threads"), py::arg("progress"),
        "Train a batch of linear networks by gradient descent; see linnet_fast.train.");
    m.def(
        "train_flow",
        [](const py::list& factors, std::vector<std::vector<Index>> shapes,
           std::vector<Index> run_shape, std::vector<py::array> weights,
           py::array input_cov, py::array cross_cov, py::array output_power, py::array rtol,
           py::array atol, py::array weight_decay, std::optional<py::array> stop_loss,
           std::optional<py::array> stop_gradient_norm, double begin, double until, Index max_steps,
           std::optional<py::array_t<std::int8_t>> ended, std::vector<double> record_times,
           std::set<std::string> observables, int n_threads, py::object progress) {
            Chain chain = chain_of(factors, shapes);
            const Arguments a{
                std::move(chain),        std::move(shapes),       std::move(run_shape),
                std::move(weights),      std::move(input_cov),    std::move(cross_cov),
                std::move(output_power), std::move(weight_decay), std::move(stop_loss),
                std::move(stop_gradient_norm), std::move(ended),  std::move(observables),
                n_threads,               std::move(progress)};
            Flow method;
            method.begin = begin;
            method.until = until;
            method.max_steps = max_steps;
            method.record_times = std::move(record_times);
            check(a, method);
            return train_flow(a, method, rtol, atol);
        },
        py::kw_only(), py::arg("factors"), py::arg("shapes"), py::arg("run_shape"), py::arg("weights"),
        py::arg("input_cov"), py::arg("cross_cov"), py::arg("output_power"), py::arg("rtol"),
        py::arg("atol"), py::arg("weight_decay"), py::arg("stop_loss"),
        py::arg("stop_gradient_norm"), py::arg("begin"), py::arg("until"), py::arg("max_steps"),
        py::arg("ended").noconvert(), py::arg("record_times"), py::arg("observables"),
        py::arg("n_threads"), py::arg("progress"),
        "Train a batch of linear networks by gradient flow; see linnet_fast.train.");
    m.def("status_messages", [] {
        std::map<int, std::string> messages;
        for (const Status status :
             {Status::completed, Status::converged, Status::diverged, Status::exhausted}) {
            messages[static_cast<int>(status)] = message(status);
        }
        return messages;
    });
}

}  // namespace linnet::bindings
