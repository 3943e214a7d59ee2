#include <pybind11/stl.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "arrays.hpp"
#include "interruptible.hpp"
#include "linnet/train.hpp"
#include "register.hpp"
#include "spherical_table.hpp"

namespace linnet::bindings {

namespace {

/// The arguments that do not depend on the method or on the number type.
struct Arguments {
    Chain chain;
    std::vector<std::vector<Index>> shapes;  // of the weights
    std::vector<Index> run_shape;
    std::vector<py::array> weights;
    std::optional<py::array> input_cov, cross_cov, output_power;  // of a squared loss
    std::optional<py::dict> loss;                                 // of another one
    std::optional<py::array> direction;
    py::array weight_decay;
    std::optional<py::array> stop_loss, stop_gradient_norm;
    std::optional<py::array_t<std::int8_t>> ended;
    std::set<std::string> observables;
    int n_threads;
    py::object progress;
};

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
                                             "gradient_norm", "angle",
                                             "log_tan_half_angle", "norm", "margin",
                                             "layer_singular_ratio", "layer_alignment"};
    for (const std::string& name : a.observables)
        require(known.count(name) == 1, "unknown observable '" + name + "'");
    const auto wants = [&](const char* name) { return a.observables.count(name) == 1; };
    require(a.direction || !(wants("angle") || wants("log_tan_half_angle")),
            "angles need a direction");
    require(a.chain.is_dense() || !(wants("layer_singular_ratio") || wants("layer_alignment")),
            "singular vectors are known of dense layers only");
    require(a.chain.n_outputs() == 1 || !(a.loss || a.direction || wants("margin")),
            "losses but the squared one, angles and margins need one output");
    require(a.loss || (a.input_cov && a.cross_cov && a.output_power),
            "a squared loss needs its moments");
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

/// A loss that is not made of moments, from a dict: kind, n_samples, inputs and single_inputs; or kind, law and direction.
LossData loss_of(const Arguments& a) {
    LossData loss;
    loss.run_shape = a.run_shape;
    if (!a.loss) return loss;
    const py::dict& d = *a.loss;
    const auto kind = d["kind"].cast<std::string>();
    const Index n_in = a.chain.n_inputs();
    if (kind == "spherical") {
        loss.kind = LossKind::spherical;
        loss.law = spherical_table_of(d["law"].cast<py::tuple>());
        loss.direction =
            run_array<double>(d["direction"].cast<py::array>(), "direction", a.run_shape, {n_in});
    } else {
        require(kind == "logistic" || kind == "exponential", "unknown loss '" + kind + "'");
        loss.kind = kind == "logistic" ? LossKind::logistic : LossKind::exponential;
        loss.n_samples = d["n_samples"].cast<Index>();
        const auto inputs = d["inputs"].cast<py::array>();
        loss.stride = inputs.ndim() > 0 ? inputs.shape(inputs.ndim() - 1) : 0;
        require(loss.n_samples >= 1 && loss.stride % 16 == 0 && loss.stride >= loss.n_samples,
                "inputs must be padded to a multiple of 16 samples");
        loss.inputs = run_array<double>(inputs, "inputs", a.run_shape, {n_in, loss.stride});
        if (!d["single_inputs"].is_none()) {
            loss.single_inputs = run_array<float>(d["single_inputs"].cast<py::array>(),
                                                  "single_inputs", a.run_shape,
                                                  {n_in, loss.stride});
        }
        require(py::isinstance<py::array_t<double>>(a.weights.front()) ||
                    loss.single_inputs.data != nullptr,
                "runs in single precision need single_inputs");
    }
    if (!d["label_noise"].is_none()) {
        loss.label_noise =
            run_array<double>(d["label_noise"].cast<py::array>(), "label_noise", a.run_shape, {});
        loss.has_noise = true;
    }
    return loss;
}

/// Samples drawn for every step, from a tuple (batch_size, seed, streams, law, radii, cumulative).
Draws draws_of(const py::tuple& t, const Arguments& a) {
    Draws draws;
    draws.batch_size = t[0].cast<Index>();
    draws.seed = t[1].cast<std::uint64_t>();
    draws.stream = run_array<std::int64_t>(t[2].cast<py::array>(), "streams", a.run_shape, {});
    const int law = t[3].cast<int>();
    require(law >= 0 && law <= static_cast<int>(LawKind::mixture), "unknown law");
    draws.law = static_cast<LawKind>(law);
    draws.radii = t[4].cast<std::vector<double>>();
    draws.cumulative = t[5].cast<std::vector<double>>();
    require(a.loss.has_value(), "samples can only be drawn of data or a law");
    // Every pair of coordinates has a block of random numbers, counted in 32 bits.
    const Index most = (Index{1} << 32) / (a.chain.n_inputs() / 2 + 2);
    require(draws.batch_size >= 1 && draws.batch_size <= most - 32, "batch_size is out of range");
    require(!draws.radii.empty() && draws.cumulative.size() == draws.radii.size(),
            "a law needs radii and their probabilities");
    return draws;
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
    problem.loss = loss_of(a);
    if (!a.loss) {
        problem.input_cov = run_array<double>(*a.input_cov, "input_cov", a.run_shape, {n_in, n_in});
        problem.cross_cov =
            run_array<double>(*a.cross_cov, "cross_cov", a.run_shape, {n_out, n_in});
        problem.output_power = run_array<double>(*a.output_power, "output_power", a.run_shape, {});
    }
    if (a.direction)
        problem.direction = run_array<double>(*a.direction, "direction", a.run_shape, {n_in});
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
        observe("angle", results.angle, {});
        observe("log_tan_half_angle", results.log_tan_half_angle, {});
        observe("norm", results.norm, {});
        observe("margin", results.margin, {});
        observe("layer_singular_ratio", results.layer_singular_ratio, {n_layers});
        observe("layer_alignment", results.layer_alignment, {n_layers - 1});
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

template <class T>
py::dict train_as(const Arguments& a, Descent descent, const py::array& step_size,
                  const std::optional<py::tuple>& rule, const std::optional<py::tuple>& draws) {
    const Problem<T> problem = problem_of<T>(a);
    Draws drawn;
    if (draws) {
        drawn = draws_of(*draws, a);
        descent.draws = &drawn;
    }
    descent.step_size = run_array<double>(step_size, "step_size", a.run_shape,
                                          {static_cast<Index>(a.shapes.size())});
    Arrays<T> arrays(a, descent.record_steps.size());
    arrays.results.stopped_at = arrays.template add<std::int64_t>("stopped_at", a);
    if (rule) {
        const int kind = (*rule)[0].cast<int>();
        require(kind > 0 && kind <= static_cast<int>(StepKind::alignment), "unknown step rule");
        descent.rule = static_cast<StepKind>(kind);
        require(descent.rule != StepKind::alignment || problem.loss.kind == LossKind::spherical,
                "alignment needs a spherical loss");
        const auto parameter = [&](std::size_t k, const char* name) {
            return run_array<double>((*rule)[k].cast<py::array>(), name, a.run_shape, {});
        };
        descent.scale = parameter(1, "scale");
        descent.exponent = parameter(2, "exponent");
        descent.elapsed = parameter(3, "elapsed");
        auto time =
            nan_array<double>(a.run_shape, {static_cast<Index>(descent.record_steps.size())});
        arrays.results.time = time.mutable_data();
        arrays.out["time"] = std::move(time);
        arrays.results.elapsed = arrays.template add<double>("elapsed", a);
    }
    run_interruptible(a.n_threads, a.progress, [&](const Control& control) { train(problem, descent, arrays.results, control); });
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
    run_interruptible(a.n_threads, a.progress, [&](const Control& control) { flow(problem, method, arrays.results, control); });
    return arrays.out;
}

}  // namespace

void register_train(py::module_& m) {
    m.def(
        "train",
        [](const py::list& factors, std::vector<std::vector<Index>> shapes,
           std::vector<Index> run_shape, std::vector<py::array> weights,
           std::optional<py::array> input_cov, std::optional<py::array> cross_cov,
           std::optional<py::array> output_power, std::optional<py::dict> loss,
           std::optional<py::array> direction, py::array step_size,
           std::optional<py::tuple> rule, std::optional<py::tuple> draws, py::array weight_decay, std::optional<py::array> stop_loss,
           std::optional<py::array> stop_gradient_norm, Index check_every, Index first_step,
           Index n_steps, std::optional<py::array_t<std::int8_t>> ended,
           std::vector<std::int64_t> record_steps, std::set<std::string> observables, int n_threads,
           py::object progress) {
            Chain chain = chain_of(factors, shapes);
            const Arguments a{
                std::move(chain),        std::move(shapes),       std::move(run_shape),
                std::move(weights),      std::move(input_cov),    std::move(cross_cov),
                std::move(output_power), std::move(loss),         std::move(direction),
                std::move(weight_decay), std::move(stop_loss),
                std::move(stop_gradient_norm), std::move(ended),  std::move(observables),
                n_threads,               std::move(progress)};
            Descent descent;
            descent.check_every = check_every;
            descent.first_step = first_step;
            descent.n_steps = n_steps;
            descent.record_steps = std::move(record_steps);
            check(a, descent);
            return py::isinstance<py::array_t<float>>(a.weights.front())
                       ? train_as<float>(a, descent, step_size, rule, draws)
                       : train_as<double>(a, descent, step_size, rule, draws);
        },
        py::kw_only(), py::arg("factors"), py::arg("shapes"), py::arg("run_shape"), py::arg("weights"),
        py::arg("input_cov"), py::arg("cross_cov"), py::arg("output_power"),
        py::arg("loss") = py::none(), py::arg("direction") = py::none(), py::arg("step_size"),
        py::arg("rule") = py::none(), py::arg("draws") = py::none(),
        py::arg("weight_decay"), py::arg("stop_loss"), py::arg("stop_gradient_norm"),
        py::arg("check_every"), py::arg("first_step"), py::arg("n_steps"),
        py::arg("ended").noconvert(), py::arg("record_steps"), py::arg("observables"),
        py::arg("n_threads"), py::arg("progress"),
        "Train a batch of linear networks by gradient descent; see linnet_fast.train.");
    m.def(
        "train_flow",
        [](const py::list& factors, std::vector<std::vector<Index>> shapes,
           std::vector<Index> run_shape, std::vector<py::array> weights,
           std::optional<py::array> input_cov, std::optional<py::array> cross_cov,
           std::optional<py::array> output_power, std::optional<py::dict> loss,
           std::optional<py::array> direction, py::array rtol, py::array atol,
           py::array weight_decay, std::optional<py::array> stop_loss,
           std::optional<py::array> stop_gradient_norm, bool log_time, double begin, double until, Index max_steps,
           std::optional<py::array_t<std::int8_t>> ended, std::vector<double> record_times,
           std::set<std::string> observables, int n_threads, py::object progress) {
            Chain chain = chain_of(factors, shapes);
            const Arguments a{
                std::move(chain),        std::move(shapes),       std::move(run_shape),
                std::move(weights),      std::move(input_cov),    std::move(cross_cov),
                std::move(output_power), std::move(loss),         std::move(direction),
                std::move(weight_decay), std::move(stop_loss),
                std::move(stop_gradient_norm), std::move(ended),  std::move(observables),
                n_threads,               std::move(progress)};
            Flow method;
            method.log_time = log_time;
            method.begin = begin;
            method.until = until;
            method.max_steps = max_steps;
            method.record_times = std::move(record_times);
            check(a, method);
            return train_flow(a, method, rtol, atol);
        },
        py::kw_only(), py::arg("factors"), py::arg("shapes"), py::arg("run_shape"), py::arg("weights"),
        py::arg("input_cov"), py::arg("cross_cov"), py::arg("output_power"),
        py::arg("loss") = py::none(), py::arg("direction") = py::none(), py::arg("rtol"),
        py::arg("atol"), py::arg("weight_decay"), py::arg("stop_loss"),
        py::arg("stop_gradient_norm"), py::arg("log_time") = false, py::arg("begin"), py::arg("until"), py::arg("max_steps"),
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
