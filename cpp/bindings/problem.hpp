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
#include "linnet/observables.hpp"
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

/// What is conserved between two arrays of weights, from a dict; what: how to call it.
inline Balance read_balance(const std::string& what, const py::handle& value, const Chain& chain) {
    const auto given = field_as<py::dict>(value, what, "a dict");
    const auto field = [&](const std::string& name) {
        require(given.contains(name.c_str()), what + " needs " + name);
        return given[name.c_str()];
    };
    Balance one;
    one.pair = field("pair").cast<Index>();
    const auto n_arrays = static_cast<Index>(chain.sizes.size());
    require(one.pair >= 0 && one.pair + 1 < n_arrays, what + ": pair is out of range");
    const auto read_side = [&](const std::string& name, Index array, Balance::Side& side) {
        const auto places = field(name).cast<py::array_t<std::int64_t, py::array::c_style>>();
        const auto shifts = field(name + "_shift").cast<py::array_t<double, py::array::c_style>>();
        require(places.ndim() == 3 && shape_of(places) == shape_of(shifts),
                what + ": " + name + " must have three axes, and shifts the same");
        const Index extents[] = {places.shape(0), places.shape(1)};
        require(array == one.pair || (extents[0] == one.n_sets && extents[1] == one.n_units),
                what + ": both sides must have as many sets and units");
        one.n_sets = extents[0];
        one.n_units = extents[1];
        side.length = places.shape(2);
        side.factor = field(name + "_factor").cast<double>();
        side.weights.assign(places.data(), places.data() + places.size());
        side.shifts.assign(shifts.data(), shifts.data() + shifts.size());
        for (const Index place : side.weights) {
            require(place >= 0 && place < chain.sizes[static_cast<std::size_t>(array)],
                    what + ": a weight is out of range");
        }
    };
    read_side("below", one.pair, one.below);
    read_side("above", one.pair + 1, one.above);
    return one;
}

/// An observable with parameters, from a dict; key: how it is called there.
inline Measure read_measure(const std::string& key, const py::handle& value, const Chain& chain,
                            const std::vector<Index>& run_shape, Calls& calls) {
    const auto given = field_as<py::dict>(value, key, "a dict");
    Measure one;
    for (const auto item : given) {
        const auto field = py::str(item.first).cast<std::string>();
        if (field == "kind") {
            one.kind = measure_of(item.second.cast<std::string>());
        } else if (field == "count") {
            one.count = item.second.cast<Index>();
        } else if (field == "both") {
            one.both = item.second.cast<bool>();
        } else if (field == "power") {
            one.power = item.second.cast<double>();
        } else if (field == "loss") {
            // Whatever the runs are in, observables are in double precision.
            one.loss = loss_of<double>(field_as<py::dict>(item.second, key + ": loss", "a dict"),
                                       run_shape, chain.n_inputs(), chain.n_outputs(), calls);
        } else if (field == "of_measurements") {
            one.of_measurements = item.second.cast<bool>();
        } else if (field == "balances") {
            for (const auto& part : item.second.cast<std::vector<py::object>>())
                one.balances.push_back(read_balance(key + ": balances", part, chain));
        } else {
            require(field == "arrays" || field == "below" || field == "above" ||
                        field == "is_recorded",
                    key + " has no field '" + field + "'");
        }
    }
    require(given.contains("kind"), key + " needs a kind");
    require(one.count >= 0 && one.count <= Index{1} << 40, key + ": count is out of range");
    require(one.power > 0, key + ": power must be positive");
    const MeasureDeclaration& declared = measures()[one.kind];
    if (declared.needs_samples) {
        require(one.loss && one.loss->declaration().can_draw &&
                    !one.loss->declaration().draws_fresh && one.count >= 1,
                key + " needs a loss of samples, and how many there are");
    }
    require(one.balances.empty() || declared.needs_balances, key + " has no field 'balances'");
    std::vector<std::vector<Index>> shapes;
    if (declared.arrays != nullptr) shapes = declared.arrays(chain, one);
    const auto arrays = given.contains("arrays") ? given["arrays"].cast<std::vector<py::array>>()
                                                 : std::vector<py::array>{};
    require(arrays.size() == shapes.size(), key + " needs " + std::to_string(shapes.size()) +
                                                " arrays, got " + std::to_string(arrays.size()));
    for (std::size_t k = 0; k < arrays.size(); ++k) {
        const std::string name = key + ": arrays[" + std::to_string(k) + "]";
        one.arrays.push_back(run_array<double>(arrays[k], name.c_str(), run_shape, shapes[k]));
    }
    const auto limit = [&](const char* field, RunArray<double>& to) {
        if (!given.contains(field) || given[field].is_none()) return;
        require(declared.shape(chain, one).empty(), key + " is no number to stop by");
        to = run_array<double>(field_as<py::array>(given[field], key, "an array"), field, run_shape,
                               {});
    };
    limit("below", one.below);
    limit("above", one.above);
    return one;
}

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
    py::dict measures;  // name -> dict

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
    for (const auto item : a.measures) {
        const auto key = py::str(item.first).cast<std::string>();
        problem.measures.push_back(read_measure(key, item.second, a.chain, a.run_shape, calls));
        const Measure& one = problem.measures.back();
        const LossDeclaration& loss = (one.loss ? *one.loss : problem.loss).declaration();
        require(
            loss.has_curvature || !(one.of_measurements || measures()[one.kind].needs_curvature),
            key + " needs a loss with a second derivative, and a " + loss.name + " loss has none");
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
