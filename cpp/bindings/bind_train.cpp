#include <pybind11/stl.h>

#include <cmath>
#include <map>
#include <set>

#include "chain.hpp"
#include "interruptible.hpp"
#include "linnet/train.hpp"
#include "problem.hpp"
#include "register.hpp"
#include "results.hpp"
#include "update.hpp"

namespace linnet::bindings {

namespace {

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
py::dict train_as(const Arguments& a, Descent descent, const py::array& step_size,
                  const std::optional<py::tuple>& rule, const std::optional<py::dict>& draws,
                  const std::optional<py::dict>& noise, const std::optional<py::array>& radius,
                  const std::vector<std::vector<py::array>>& start_memory) {
    Calls calls;
    Problem<T> problem = problem_of<T>(a, calls);
    Draws drawn;
    if (draws) {
        drawn = draws_of(*draws, problem.loss);
        descent.draws = &drawn;
    }
    WeightNoise weight_noise;
    if (noise) {
        weight_noise = noise_of(*noise, a.run_shape);
        descent.noise = &weight_noise;
    }
    if (radius) {
        require(descent.update.by().stores_gradients,
                "radius needs an update that stores gradients");
        descent.radius = run_array<double>(*radius, "radius", a.run_shape, {});
    }
    descent.step_size = run_array<double>(step_size, "step_size", a.run_shape,
                                          {static_cast<Index>(a.shapes.size())});
    require(!descent.update.feeds_back || problem.chain.is_dense(),
            "errors pass back through matrices in dense chains only");
    Arrays<T> arrays(a, problem.measures, descent.record_steps.size());
    Memory<T> memory(descent.update, start_memory, a.run_shape, a.shapes);
    memory.put_into(problem, arrays.results);
    memory.put_into(arrays.out);
    arrays.add_final(a);
    arrays.results.stopped_at = arrays.template add<std::int64_t>("stopped_at", a);
    if (rule) {
        const int kind = (*rule)[0].cast<int>();
        require(kind > 0 && kind <= static_cast<int>(last_step_kind), "unknown step rule");
        descent.rule = static_cast<StepKind>(kind);
        require(descent.rule != StepKind::alignment || problem.loss.law() != nullptr,
                "alignment needs the loss of a law");
        const auto parameter = [&](std::size_t k, const char* name) {
            return run_array<double>((*rule)[k].cast<py::array>(), name, a.run_shape, {});
        };
        descent.scale = parameter(1, "scale");
        const auto parameters = (*rule)[2].cast<py::array>();
        const Index size = parameters.ndim() > 0 ? parameters.shape(parameters.ndim() - 1) : 0;
        require(size >= StepParameters::n_numbers, "too few parameters of a step rule");
        descent.parameters = run_array<double>(parameters, "parameters", a.run_shape, {size});
        descent.n_boundaries = StepParameters::boundaries_of(size);
        descent.elapsed = parameter(3, "elapsed");
        auto time =
            nan_array<double>(a.run_shape, {static_cast<Index>(descent.record_steps.size())});
        arrays.results.time = time.mutable_data();
        arrays.out["time"] = std::move(time);
        arrays.results.elapsed = arrays.template add<double>("elapsed", a);
    }
    const auto work = [&](const Control& control) {
        train(problem, descent, arrays.results, control);
    };
    run_interruptible(a.n_threads, a.progress, work, &calls);
    return arrays.out;
}

py::dict train_flow(const Arguments& a, Flow method, const py::array& rtol, const py::array& atol,
                    const std::optional<py::array>& from) {
    Calls calls;
    const Problem<double> problem = problem_of<double>(a, calls);
    method.rtol = run_array<double>(rtol, "rtol", a.run_shape, {});
    method.atol = run_array<double>(atol, "atol", a.run_shape, {});
    if (from) method.from = run_array<double>(*from, "since", a.run_shape, {});
    Arrays<double> arrays(a, problem.measures, method.record_times.size());
    arrays.add_final(a);
    arrays.results.stopped_time = arrays.add<double>("stopped_at", a);
    arrays.results.n_steps_taken = arrays.add<std::int64_t>("n_steps", a);
    if (method.begin == method.until || a.ended) {  // runs that had ended take no step
        std::fill_n(arrays.results.n_steps_taken, arrays.out["n_steps"].cast<py::array>().size(),
                    0);
        std::fill_n(arrays.results.stopped_time, arrays.out["stopped_at"].cast<py::array>().size(),
                    method.begin);
    }
    const auto work = [&](const Control& control) {
        flow(problem, method, arrays.results, control);
    };
    run_interruptible(a.n_threads, a.progress, work, &calls);
    return arrays.out;
}

template <class T>
py::dict observe_as(const Arguments& a) {
    Calls calls;
    const Problem<T> problem = problem_of<T>(a, calls);
    Arrays<T> arrays(a, problem.measures, std::nullopt);
    const auto work = [&](const Control& control) { observe(problem, arrays.results, control); };
    run_interruptible(a.n_threads, a.progress, work, &calls);
    return arrays.out;
}

/// The names of what the core knows.
py::dict known() {
    const auto names_of = [](const auto& rows, const auto& name_of) {
        py::list names;
        for (const auto& row : rows) names.append(name_of(row));
        return names;
    };
    const auto own_name = [](const auto& row) { return row.name; };
    py::dict all;
    all["observables"] = names_of(observables(), own_name);
    all["measures"] = names_of(measures(), own_name);
    all["losses"] = names_of(losses(), own_name);
    all["updates"] = names_of(update_policies(), own_name);
    return all;
}

}  // namespace

void register_train(py::module_& m) {
    m.def(
        "train",
        [](const py::list& factors, std::vector<std::vector<Index>> shapes,
           std::vector<Index> run_shape, std::vector<py::array> weights, py::dict loss,
           std::optional<py::array> direction, py::array step_size, std::optional<py::tuple> rule,
           std::optional<py::dict> draws, std::optional<py::dict> noise,
           std::optional<py::array> radius, const py::dict& update,
           const std::vector<std::vector<py::array>>& memory, py::array weight_decay,
           std::optional<py::array> stop_loss, std::optional<py::array> stop_gradient_norm,
           Index check_every, Index first_step, Index n_steps,
           std::optional<py::array_t<std::int8_t>> ended, std::vector<std::int64_t> record_steps,
           std::set<std::string> observables, py::dict evaluate, py::dict measures, int n_threads,
           py::object progress) {
            Chain chain = chain_of(factors, shapes);
            const Arguments a{
                std::move(chain),        std::move(shapes),      std::move(run_shape),
                std::move(weights),      std::move(loss),        std::move(direction),
                std::move(weight_decay), std::move(stop_loss),   std::move(stop_gradient_norm),
                std::move(ended),        std::move(observables), n_threads,
                std::move(progress),     std::move(evaluate),    {},
                std::move(measures)};
            Descent descent;
            descent.check_every = check_every;
            descent.first_step = first_step;
            descent.n_steps = n_steps;
            descent.record_steps = std::move(record_steps);
            descent.update = update_of(update, a.run_shape);
            check(a, descent);
            require(descent.update.remembers_from >= 0 &&
                        descent.update.remembers_from <= first_step,
                    "remembers_from must lie within 0 ... first_step");
            return a.is_single()
                       ? train_as<float>(a, descent, step_size, rule, draws, noise, radius, memory)
                       : train_as<double>(a, descent, step_size, rule, draws, noise, radius,
                                          memory);
        },
        py::kw_only(), py::arg("factors"), py::arg("shapes"), py::arg("run_shape"),
        py::arg("weights"), py::arg("loss"), py::arg("direction") = py::none(),
        py::arg("step_size"), py::arg("rule") = py::none(), py::arg("draws") = py::none(),
        py::arg("noise") = py::none(), py::arg("radius") = py::none(),
        py::arg("update") = plain_update(), py::arg("memory") = py::tuple(),
        py::arg("weight_decay"), py::arg("stop_loss"), py::arg("stop_gradient_norm"),
        py::arg("check_every"), py::arg("first_step"), py::arg("n_steps"),
        py::arg("ended").noconvert(), py::arg("record_steps"), py::arg("observables"),
        py::arg("evaluate") = py::dict(), py::arg("measures") = py::dict(), py::arg("n_threads"),
        py::arg("progress"),
        "Train a batch of linear networks by gradient descent; see linnet_fast.train.");
    m.def(
        "train_flow",
        [](const py::list& factors, std::vector<std::vector<Index>> shapes,
           std::vector<Index> run_shape, std::vector<py::array> weights, py::dict loss,
           std::optional<py::array> direction, py::array rtol, py::array atol,
           py::array weight_decay, std::optional<py::array> stop_loss,
           std::optional<py::array> stop_gradient_norm, int kind, bool log_time, double begin,
           std::optional<py::array> from, double until, Index max_steps,
           std::optional<py::array_t<std::int8_t>> ended, std::vector<double> record_times,
           std::set<std::string> observables, py::dict evaluate, py::dict measures,
           std::optional<py::array> mirror, int n_threads, py::object progress) {
            Chain chain = chain_of(factors, shapes);
            const Arguments a{
                std::move(chain),        std::move(shapes),      std::move(run_shape),
                std::move(weights),      std::move(loss),        std::move(direction),
                std::move(weight_decay), std::move(stop_loss),   std::move(stop_gradient_norm),
                std::move(ended),        std::move(observables), n_threads,
                std::move(progress),     std::move(evaluate),    std::move(mirror),
                std::move(measures)};
            Flow method;
            require(kind >= 0 && kind <= static_cast<int>(FlowKind::stiff),
                    "kind must be the number of a method for flows");
            method.kind = static_cast<FlowKind>(kind);
            method.log_time = log_time;
            method.begin = begin;
            method.until = until;
            method.max_steps = max_steps;
            method.record_times = std::move(record_times);
            check(a, method);
            return train_flow(a, method, rtol, atol, from);
        },
        py::kw_only(), py::arg("factors"), py::arg("shapes"), py::arg("run_shape"),
        py::arg("weights"), py::arg("loss"), py::arg("direction") = py::none(), py::arg("rtol"),
        py::arg("atol"), py::arg("weight_decay"), py::arg("stop_loss"),
        py::arg("stop_gradient_norm"), py::arg("kind") = 0, py::arg("log_time") = false,
        py::arg("begin"), py::arg("since") = py::none(), py::arg("until"), py::arg("max_steps"),
        py::arg("ended").noconvert(), py::arg("record_times"), py::arg("observables"),
        py::arg("evaluate") = py::dict(), py::arg("measures") = py::dict(),
        py::arg("mirror") = py::none(), py::arg("n_threads"), py::arg("progress"),
        "Train a batch of linear networks by gradient flow; see linnet_fast.train.");
    m.def(
        "observe",
        [](const py::list& factors, std::vector<std::vector<Index>> shapes,
           std::vector<Index> run_shape, std::vector<py::array> weights, py::dict loss,
           std::optional<py::array> direction, py::array weight_decay,
           std::set<std::string> observables, py::dict evaluate, py::dict measures, int n_threads) {
            Arguments a{};
            a.chain = chain_of(factors, shapes);
            a.shapes = std::move(shapes);
            a.run_shape = std::move(run_shape);
            a.weights = std::move(weights);
            a.loss = std::move(loss);
            a.direction = std::move(direction);
            a.weight_decay = std::move(weight_decay);
            a.observables = std::move(observables);
            a.evaluate = std::move(evaluate);
            a.measures = std::move(measures);
            a.n_threads = n_threads;
            a.progress = py::none();
            check(a);
            return a.is_single() ? observe_as<float>(a) : observe_as<double>(a);
        },
        py::kw_only(), py::arg("factors"), py::arg("shapes"), py::arg("run_shape"),
        py::arg("weights"), py::arg("loss"), py::arg("direction") = py::none(),
        py::arg("weight_decay"), py::arg("observables"), py::arg("evaluate") = py::dict(),
        py::arg("measures") = py::dict(), py::arg("n_threads"),
        "What a training would record of its weights, by name; see linnet_fast.observe.");
    m.def("known", known, "The names of the observables, losses and updates there are.");
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
