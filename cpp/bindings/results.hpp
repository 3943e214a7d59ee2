// The arrays that results are written to.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "linnet/train.hpp"
#include "problem.hpp"

namespace linnet::bindings {

/// Results with the arrays they point into.
template <class T>
struct Arrays {
    Results<T> results;
    py::dict out;

    /// measures: of the problem. records: one axis of results, of so many; without it there is one
    /// record, and no axis.
    Arrays(const Arguments& a, const std::vector<Measure>& measures,
           std::optional<std::size_t> records) {
        std::vector<Index> lead;
        if (records) lead.push_back(static_cast<Index>(*records));
        const auto of_records = [&](const std::vector<Index>& shape) {
            std::vector<Index> inner = lead;
            inner.insert(inner.end(), shape.begin(), shape.end());
            return inner;
        };
        // Into a list by place in observables(), and by name into a dict.
        const auto observe = [&](const std::set<std::string>& names, std::vector<double*>& to) {
            to.resize(observables().size());
            py::dict observed;
            for (const std::string& name : names) {
                const std::size_t place = observable_of(name);
                const ObservableDeclaration& row = observables()[place];
                if (row.shape == nullptr) {
                    observed[row.name] = add_layers(a, results.weights, of_records);
                    continue;
                }
                auto array = nan_array<double>(a.run_shape, of_records(row.shape(a.chain)));
                to[place] = array.mutable_data();
                observed[row.name] = std::move(array);
            }
            return observed;
        };
        py::dict observed = observe(a.observables, results.observed);
        std::size_t k = 0;
        for (const auto item : a.measures) {
            const Measure& one = measures[k++];
            results.measured.push_back(nullptr);
            if (py::reinterpret_borrow<py::dict>(item.second).contains("is_recorded") &&
                !item.second["is_recorded"].cast<bool>())
                continue;
            const auto shape = linnet::measures()[one.kind].shape(a.chain, one);
            auto array = nan_array<double>(a.run_shape, of_records(shape));
            results.measured.back() = array.mutable_data();
            observed[item.first] = std::move(array);
        }
        out["observables"] = std::move(observed);
        py::dict evaluated;
        for (const auto item : a.evaluate) {
            results.evaluated.emplace_back();
            evaluated[item.first] =
                observe(Evaluation(item.second).observables, results.evaluated.back());
        }
        out["evaluated"] = std::move(evaluated);
    }
    /// What trainings give besides.
    void add_final(const Arguments& a) {
        out["weights"] = add_layers(a, results.final_weights,
                                    [](const std::vector<Index>& shape) { return shape; });
        results.status = add<std::int8_t>("status", a);
    }
    template <class Number>
    Number* add(const char* name, const Arguments& a) {
        py::array_t<Number> array(a.run_shape);
        Number* const data = array.mutable_data();
        out[name] = std::move(array);
        return data;
    }

private:
    /// An array per layer, of what `shape_of` makes of its shape.
    template <class ShapeOf>
    static py::tuple add_layers(const Arguments& a, std::vector<T*>& to, const ShapeOf& shape_of) {
        py::list layers;
        for (const std::vector<Index>& shape : a.shapes) {
            auto array = nan_array<T>(a.run_shape, shape_of(shape));
            to.push_back(array.mutable_data());
            layers.append(std::move(array));
        }
        return py::tuple(layers);
    }
};

}  // namespace linnet::bindings
