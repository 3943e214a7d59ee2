// Losses that are not made of second moments, and samples that are drawn, as Python describes them.
#pragma once

#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "arrays.hpp"
#include "interruptible.hpp"
#include "linnet/loss.hpp"
#include "spherical_table.hpp"

namespace linnet::bindings {

/// A loss, of runs in precision T, from a dict: kind, n_samples, inputs and single_inputs; or kind,
/// law and direction. Without one it is the squared loss.
template <class T>
LossData loss_of(const std::optional<py::dict>& fields, const std::vector<Index>& run_shape,
                 Index n_in) {
    LossData loss;
    loss.run_shape = run_shape;
    if (!fields) return loss;
    const py::dict& d = *fields;
    const auto kind = d["kind"].cast<std::string>();
    if (kind == "spherical") {
        loss.kind = LossKind::spherical;
        loss.law = spherical_table_of(d["law"].cast<py::tuple>());
        loss.direction =
            run_array<double>(d["direction"].cast<py::array>(), "direction", run_shape, {n_in});
    } else {
        require(kind == "logistic" || kind == "exponential", "unknown loss '" + kind + "'");
        loss.kind = kind == "logistic" ? LossKind::logistic : LossKind::exponential;
        loss.n_samples = d["n_samples"].cast<Index>();
        const auto inputs = d["inputs"].cast<py::array>();
        loss.stride = inputs.ndim() > 0 ? inputs.shape(inputs.ndim() - 1) : 0;
        require(loss.n_samples >= 1 && loss.stride % 16 == 0 && loss.stride >= loss.n_samples,
                "inputs must be padded to a multiple of 16 samples");
        loss.inputs = run_array<double>(inputs, "inputs", run_shape, {n_in, loss.stride});
        if (!d["single_inputs"].is_none()) {
            loss.single_inputs = run_array<float>(d["single_inputs"].cast<py::array>(),
                                                  "single_inputs", run_shape, {n_in, loss.stride});
        }
        require(!std::is_same_v<T, float> || loss.single_inputs.data != nullptr,
                "runs in single precision need single_inputs");
    }
    if (!d["label_noise"].is_none()) {
        loss.label_noise =
            run_array<double>(d["label_noise"].cast<py::array>(), "label_noise", run_shape, {});
        loss.has_noise = true;
    }
    return loss;
}

/// Samples drawn for every step, from a tuple (batch_size, seed, streams, law, radii, cumulative).
inline Draws draws_of(const py::tuple& t, const LossData& loss, Index n_in) {
    Draws draws;
    draws.batch_size = t[0].cast<Index>();
    draws.seed = t[1].cast<std::uint64_t>();
    draws.stream = run_array<std::int64_t>(t[2].cast<py::array>(), "streams", loss.run_shape, {});
    const int law = t[3].cast<int>();
    require(law >= 0 && law <= static_cast<int>(LawKind::mixture), "unknown law");
    draws.law = static_cast<LawKind>(law);
    draws.radii = t[4].cast<std::vector<double>>();
    draws.cumulative = t[5].cast<std::vector<double>>();
    require(loss.kind != LossKind::squared, "samples can only be drawn of data or a law");
    // Every pair of coordinates has a block of random numbers, counted in 32 bits.
    const Index most = (Index{1} << 32) / (n_in / 2 + 2);
    require(draws.batch_size >= 1 && draws.batch_size <= most - 32, "batch_size is out of range");
    require(!draws.radii.empty() && draws.cumulative.size() == draws.radii.size(),
            "a law needs radii and their probabilities");
    return draws;
}

}  // namespace linnet::bindings
