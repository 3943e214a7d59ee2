// Losses, and samples that are drawn, as Python describes them.
#pragma once

#include <pybind11/stl.h>

#include <algorithm>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "calls.hpp"
#include "interruptible.hpp"
#include "linnet/loss.hpp"
#include "spherical_table.hpp"

namespace linnet::bindings {

/// What a field holds, as one of C++'s types; TypeError that names the field if it is another.
template <class To>
To field_as(const py::handle& value, const std::string& name, const char* expected) {
    if (py::isinstance<To>(value)) return py::reinterpret_borrow<To>(value);
    throw py::type_error(name + " must be " + expected + ", got " +
                         py::type::of(value).attr("__name__").cast<std::string>());
}

/// Reads the fields of a loss by its declaration.
class LossReader {
public:
    LossReader(LossData& loss, Calls& calls) : loss_(loss), calls_(calls) {}

    void read(const LossField& field, const py::handle& value) {
        const std::string name = field.name;
        switch (field.type) {
            case LossField::Type::array:
                return read_array<double>(field, value);
            case LossField::Type::single_array:
                return read_array<float>(field, value);
            case LossField::Type::places:
                return read_array<std::int64_t>(field, value);
            case LossField::Type::count: {
                const auto count = field_as<py::int_>(value, name, "an integer").cast<Index>();
                require(count >= 1, name + " must be at least 1, got " + std::to_string(count));
                loss_.values[name] = count;
                return;
            }
            case LossField::Type::law:
                loss_.values[name] =
                    spherical_table_of(field_as<py::tuple>(value, name, "a tuple"));
                return;
            case LossField::Type::function:
                loss_.values[name] = loss_function(value, loss_, calls_);
                return;
        }
    }

private:
    template <class T>
    void read_array(const LossField& field, const py::handle& value) {
        const std::string name = field.name;
        const auto array = field_as<py::array>(value, name, "an array");
        const auto first = static_cast<py::ssize_t>(loss_.run_shape.size());
        const auto n_axes = first + static_cast<py::ssize_t>(field.axes.size());
        const bool has_samples =
            std::count(field.axes.begin(), field.axes.end(), LossAxis::sample) > 0;
        require(array.ndim() == n_axes || !has_samples,
                name + " must have " + std::to_string(n_axes) + " axes, got shape " +
                    shape_text(shape_of(array)));
        std::vector<Index> inner;
        for (const LossAxis axis : field.axes) {
            const auto place = first + static_cast<py::ssize_t>(inner.size());
            if (axis == LossAxis::sample && loss_.sample_extent == 0)
                loss_.sample_extent = array.shape(place);
            inner.push_back(axis == LossAxis::input    ? loss_.n_inputs
                            : axis == LossAxis::output ? loss_.n_outputs
                                                       : loss_.sample_extent);
        }
        loss_.values[name] = run_array<T>(array, field.name, loss_.run_shape, inner);
    }

    LossData& loss_;
    Calls& calls_;
};

/// A loss, of runs in precision T, from a dict with its name and its fields; calls: what its functions
/// have in common with those of other losses.
template <class T>
LossData loss_of(const py::dict& fields, const std::vector<Index>& run_shape, Index n_in,
                 Index n_out, Calls& calls) {
    require(fields.contains("name"), "loss must have a name");
    const auto name = field_as<py::str>(fields["name"], "name", "a str").cast<std::string>();
    LossData loss(name, run_shape, n_in, n_out);
    const LossDeclaration& declaration = loss.declaration();
    require(n_out == 1 || !declaration.needs_one_output,
            "a " + name + " loss needs one output, got " + std::to_string(n_out));
    LossReader reader(loss, calls);
    std::set<std::string> known{"name"};
    for (const LossField& field : declaration.fields) {
        known.insert(field.name);
        const bool is_given = fields.contains(field.name) && !fields[field.name].is_none();
        if (is_given) reader.read(field, fields[field.name]);
        const bool is_single = field.type == LossField::Type::single_array;
        require(is_given || field.is_optional || (is_single && !std::is_same_v<T, float>),
                "a " + name + " loss needs " + field.name +
                    (is_single ? " for runs in single precision" : ""));
    }
    for (const auto item : fields) {
        const auto key = py::str(item.first).cast<std::string>();
        require(known.count(key) == 1, "a " + name + " loss has no field '" + key + "'");
    }
    if (declaration.check != nullptr) declaration.check(loss);
    return loss;
}

/// Samples drawn for every step, from a dict with the fields of Draws.
inline Draws draws_of(const py::dict& d, const LossData& loss) {
    Draws draws;
    for (const auto& [first, size] : d["schedule"].cast<std::vector<std::pair<Index, Index>>>()) {
        Index before = 0;
        if (!draws.sizes.empty()) {
            const Draws::Batches& last = draws.sizes.back();
            require(first > last.first_step, "steps of sizes must increase");
            before = last.samples_before + (first - last.first_step) * last.size;
        }
        require(!draws.sizes.empty() || first == 0, "a size must be given from step 0 on");
        draws.sizes.push_back({first, size, before});
    }
    draws.replace = d["replace"].cast<bool>();
    draws.seed = d["seed"].cast<std::uint64_t>();
    draws.stream =
        run_array<std::int64_t>(d["streams"].cast<py::array>(), "streams", loss.run_shape, {});
    if (!d["label_noise_std"].is_none())
        draws.noise_std = run_array<double>(d["label_noise_std"].cast<py::array>(),
                                            "label_noise_std", loss.run_shape, {});
    const int law = d["law"].cast<int>();
    require(law >= 0 && law <= static_cast<int>(LawKind::mixture), "unknown law");
    draws.law = static_cast<LawKind>(law);
    draws.radii = d["radii"].cast<std::vector<double>>();
    draws.cumulative = d["cumulative"].cast<std::vector<double>>();
    require(loss.declaration().can_draw,
            std::string("samples cannot be drawn of a ") + loss.declaration().name + " loss");
    require(!loss.declaration().draws_fresh || (draws.replace && !draws.sizes.empty()),
            "samples of a law are drawn with replacement");
    require(loss.declaration().draws_fresh || loss.sample_extent < Index{1} << 31,
            "samples are too many to be drawn");
    // Every pair of coordinates has a block of random numbers, counted in 32 bits.
    const Index most = (Index{1} << 32) / (std::max(loss.n_inputs, loss.n_outputs) / 2 + 2);
    for (const Draws::Batches& batches : draws.sizes)
        require(batches.size >= 1 && batches.size <= most - 32, "batch_size is out of range");
    require(!draws.radii.empty() && draws.cumulative.size() == draws.radii.size(),
            "a law needs radii and their probabilities");
    return draws;
}

}  // namespace linnet::bindings
