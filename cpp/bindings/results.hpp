// The arrays that results are written to.
#pragma once

#include <algorithm>
#include <cstdint>
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

}  // namespace linnet::bindings
