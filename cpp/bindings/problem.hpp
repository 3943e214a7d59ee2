// What to train, from the arguments that do not depend on the method.
#pragma once

#include <pybind11/stl.h>

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "arrays.hpp"
#include "interruptible.hpp"
#include "linnet/train.hpp"
#include "loss.hpp"

namespace linnet::bindings {

/// A loss that is evaluated, from a dict.
struct Evaluation {
    py::dict loss;
    std::set<std::string> observables;
    std::optional<py::array> stop;

    explicit Evaluation(const py::handle& value) {
        const auto given = field_as<py::dict>(value, "evaluate", "a dict of dicts");
        for (const auto item : given) {
            const auto key = py::str(item.first).cast<std::string>();
            require(key == "loss" || key == "observables" || key == "stop",
                    "evaluate has no field '" + key + "'");
        }
        require(given.contains("loss") && given.contains("observables"),
                "evaluate needs loss and observables");
        loss = field_as<py::dict>(given["loss"], "loss of evaluate", "a dict");
        observables = given["observables"].cast<std::set<std::string>>();
        for (const std::string& name : observables) {
            require(linnet::observables()[observable_of(name)].of_loss,
                    name + " is not of a loss alone");
        }
        if (given.contains("stop") && !given["stop"].is_none())
            stop = field_as<py::array>(given["stop"], "stop of evaluate", "an array");
    }
};

/// What to look at or to train, whatever the method and the number type.
struct Arguments {
    Chain chain;
    std::vector<std::vector<Index>> shapes;  // of the weights
    std::vector<Index> run_shape;
    std::vector<py::array> weights;
    py::dict loss;
    std::optional<py::array> direction;
    py::array weight_decay;
    std::optional<py::array> stop_loss, stop_gradient_norm;
    std::optional<py::array_t<std::int8_t>> ended;
    std::set<std::string> observables;
    int n_threads;
    py::object progress;
    py::dict evaluate;  // name -> Evaluation
    std::optional<py::array> mirror;

    bool is_single() const { return py::isinstance<py::array_t<float>>(weights.front()); }
};

/// Observables fit a chain.
inline void check(const std::set<std::string>& names, const Chain& chain) {
    for (const std::string& name : names) {
        const ObservableDeclaration& row = observables()[observable_of(name)];
        require(!row.needs_one_output || chain.n_outputs() == 1, name + " needs one output");
        require(!row.needs_dense_layers || chain.is_dense(), name + " needs dense layers");
    }
}

inline void check(const Arguments& a) {
    for (const Index extent : a.run_shape) require(extent >= 0, "run_shape must not be negative");
    require(!a.weights.empty() && a.weights.size() == a.shapes.size(),
            "weights must have one array per shape");
    require_threads(a.n_threads);
    require(!a.direction || a.chain.n_outputs() == 1, "a direction needs one output");
    check(a.observables, a.chain);
    for (const std::string& name : a.observables) {
        const ObservableDeclaration& row = observables()[observable_of(name)];
        require(!row.needs_direction || a.direction, name + " needs a direction");
    }
}

/// Observables fit a loss.
inline void check(const std::set<std::string>& names, const LossDeclaration& loss) {
    for (const std::string& name : names) {
        require(!observables()[observable_of(name)].needs_margins || loss.has_margins,
                name + " needs samples with labels, and a " + loss.name + " loss has none");
    }
}

/// Records must increase and lie within a training.
template <class T>
void check_records(const std::vector<T>& records, T first, T last, const char* text) {
    for (std::size_t k = 0; k < records.size(); ++k) {
        const bool increases = k == 0 || records[k] > records[k - 1];
        require(increases && records[k] >= first && records[k] <= last, text);
    }
}

template <class T>
Problem<T> problem_of(const Arguments& a, Calls& calls) {
    const Index n_in = a.chain.n_inputs();
    Problem<T> problem;
    problem.chain = a.chain;
    problem.run_shape = a.run_shape;
    for (std::size_t l = 0; l < a.shapes.size(); ++l) {
        const std::string name = "weights[" + std::to_string(l) + "]";
        problem.weights.push_back(
            run_array<T>(a.weights[l], name.c_str(), a.run_shape, a.shapes[l]));
    }
    problem.loss = loss_of<T>(a.loss, a.run_shape, n_in, a.chain.n_outputs(), calls);
    check(a.observables, problem.loss.declaration());
    for (const auto item : a.evaluate) {
        const Evaluation evaluation(item.second);
        // Whatever the runs are in, observables are in double precision.
        EvaluatedLoss evaluated{
            loss_of<double>(evaluation.loss, a.run_shape, n_in, a.chain.n_outputs(), calls), {}};
        check(evaluation.observables, a.chain);
        check(evaluation.observables, evaluated.loss.declaration());
        if (evaluation.stop) {
            evaluated.stop =
                run_array<double>(*evaluation.stop, "stop of evaluate", a.run_shape, {});
        }
        problem.evaluated.push_back(std::move(evaluated));
    }
    if (a.mirror) problem.mirror = run_array<double>(*a.mirror, "mirror", a.run_shape, {n_in});
    if (a.direction)
        problem.direction = run_array<double>(*a.direction, "direction", a.run_shape, {n_in});
    problem.weight_decay = run_array<double>(a.weight_decay, "weight_decay", a.run_shape,
                                             {static_cast<Index>(a.shapes.size())});
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

}  // namespace linnet::bindings
