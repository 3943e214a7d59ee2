// Update policies and what they keep, as Python describes them.
#pragma once

#include <pybind11/stl.h>

#include <cstddef>
#include <string>
#include <vector>

#include "arrays.hpp"
#include "interruptible.hpp"
#include "linnet/train.hpp"

namespace linnet::bindings {

/// From a dict: the name of a policy, and by their names its parameters and choices.
inline Update update_of(const py::dict& fields, const std::vector<Index>& run_shape) {
    const std::vector<UpdatePolicy>& all = update_policies();
    const auto name = fields["name"].cast<std::string>();
    Update update;
    while (static_cast<std::size_t>(update.policy) < all.size() &&
           all[static_cast<std::size_t>(update.policy)].name != name)
        ++update.policy;
    require(static_cast<std::size_t>(update.policy) < all.size(), "unknown update '" + name + "'");
    const UpdatePolicy& policy = all[static_cast<std::size_t>(update.policy)];
    require(fields.size() == 4 + policy.parameters.size() + policy.choices.size(),
            "the update '" + name + "' has other fields");
    for (const std::string& field : policy.parameters) {
        update.parameters.push_back(run_array<double>(fields[field.c_str()].cast<py::array>(),
                                                      field.c_str(), run_shape, {}));
    }
    for (const std::string& field : policy.choices)
        update.choices.push_back(fields[field.c_str()].cast<int>());
    update.decoupled = fields["decoupled"].cast<bool>();
    update.feeds_back = fields["feeds_back"].cast<bool>();
    require(!update.feeds_back || policy.stores_gradients,
            "errors pass back through matrices for updates by stored gradients only");
    update.remembers_from = fields["remembers_from"].cast<Index>();
    return update;
}

/// From a dict: how hot the noise is, and where its numbers come from.
inline WeightNoise noise_of(const py::dict& fields, const std::vector<Index>& run_shape) {
    WeightNoise noise;
    noise.temperature =
        run_array<double>(fields["temperature"].cast<py::array>(), "temperature", run_shape, {});
    noise.seed = fields["seed"].cast<std::uint64_t>();
    noise.stream =
        run_array<std::int64_t>(fields["streams"].cast<py::array>(), "streams", run_shape, {});
    return noise;
}

/// Plain descent, as Python describes it.
inline py::dict plain_update() {
    py::dict fields;
    fields["name"] = update_policies().front().name;
    fields["decoupled"] = false;
    fields["feeds_back"] = false;
    fields["remembers_from"] = 0;
    return fields;
}

/// What an update keeps, in and out: per array of weights a sequence of arrays of its shape.
template <class T>
class Memory {
public:
    Memory(const Update& update, const std::vector<std::vector<py::array>>& start,
           const std::vector<Index>& run_shape, const std::vector<std::vector<Index>>& shapes)
        : n_memories_(static_cast<std::size_t>(update.n_memories())),
          final_(shapes.size()) {
        const std::size_t n_arrays = n_memories_ == 0 ? 0 : shapes.size();
        require(start.size() == n_arrays, "memory must be of " + std::to_string(n_arrays) +
                                              " arrays of weights, got " +
                                              std::to_string(start.size()));
        for (const auto& kept : start) {
            require(kept.size() == n_memories_, "memory must have " + std::to_string(n_memories_) +
                                                    " arrays for every array of weights");
        }
        for (std::size_t k = 0; k < n_memories_; ++k) {
            for (std::size_t l = 0; l < shapes.size(); ++l) {
                const std::string name =
                    "memory[" + std::to_string(l) + "][" + std::to_string(k) + "]";
                start_.push_back(run_array<T>(start[l][k], name.c_str(), run_shape, shapes[l]));
                final_[l].push_back(nan_array<T>(run_shape, shapes[l]));
            }
        }
    }

    void put_into(Problem<T>& problem, Results<T>& results) {
        problem.memory = start_;
        for (std::size_t k = 0; k < n_memories_; ++k) {
            for (auto& kept : final_) results.final_memory.push_back(kept[k].mutable_data());
        }
    }
    void put_into(py::dict& out) const {
        if (n_memories_ == 0) return;
        py::tuple all(final_.size());
        for (std::size_t l = 0; l < final_.size(); ++l) {
            py::tuple kept(n_memories_);
            for (std::size_t k = 0; k < n_memories_; ++k) kept[k] = final_[l][k];
            all[l] = kept;
        }
        out["memory"] = all;
    }

private:
    std::size_t n_memories_;
    std::vector<RunArray<T>> start_;
    std::vector<std::vector<py::array_t<T>>> final_;
};

}  // namespace linnet::bindings
