// Moves the weights of the runs of a machine by an update policy, from stored gradients.
#pragma once

#include <array>
#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/arena.hpp"
#include "base/simd.hpp"
#include "linnet/update.hpp"
#include "updates/list.hpp"

namespace linnet {

/// An array of weights and what belongs to it, in packs V. What a run has of its own is of type
/// Own: a pack of runs too, or one number where all of V belongs to the same run.
template <class V, class Own>
struct UpdateOperands {
    V* weights;
    const V* gradient;
    Index size;
    Index stride;  ///< memory k lies k + 1 strides behind the weights
    const Own* step;
    const Own* decay;  ///< null without weight decay
    const Own* parameters;
    const char* choices;
};

template <class Policy, class V, class Own>
void update_entries(const UpdateOperands<V, Own>& o) {
    const auto spread = [](Own x) {
        if constexpr (std::is_same_v<V, Own>) {
            return x;
        } else {
            return broadcast<V>(x);
        }
    };
    const V step = spread(*o.step);
    const V decay = o.decay == nullptr ? V{} : spread(*o.decay);
    std::array<V, Policy::parameters.size()> parameters;
    for (std::size_t k = 0; k < parameters.size(); ++k) parameters[k] = spread(o.parameters[k]);
    std::array<bool, Policy::choices.size()> choices;
    for (std::size_t k = 0; k < choices.size(); ++k) choices[k] = o.choices[k] != 0;
    const auto go_through = [&](auto has_decay) {
        for (Index i = 0; i < o.size; ++i) {
            V gradient = o.gradient[i];
            if constexpr (has_decay.value) gradient = fma(decay, o.weights[i], gradient);
            std::array<V, Policy::n_memories> memory;
            for (int k = 0; k < Policy::n_memories; ++k)
                memory[static_cast<std::size_t>(k)] = o.weights[(k + 1) * o.stride + i];
            o.weights[i] = Policy::apply(o.weights[i], gradient, memory.data(), step,
                                         parameters.data(), choices.data());
            for (int k = 0; k < Policy::n_memories; ++k)
                o.weights[(k + 1) * o.stride + i] = memory[static_cast<std::size_t>(k)];
        }
    };
    if (o.decay == nullptr) {
        go_through(std::false_type{});
    } else {
        go_through(std::true_type{});
    }
}

/// Of the runs in the slots of a machine; Own: packs of runs, or plain numbers of a single run.
template <class Own>
class Updater {
public:
    using T = ScalarOf<Own>;
    static constexpr int lanes = PackTraits<Own>::lanes;
    /// What matrices are made of: rows of a single run's are whole vectors.
    using V = std::conditional_t<lanes == 1, Pack<T, native_lanes<T>>, Own>;

    Updater(const Update& update, int n_slots)
        : n_parameters_(static_cast<Index>(update.parameters.size())),
          parameters_(n_parameters_ * (n_slots / lanes)),
          choices_(update.choices),
          entries_(entries_of(update.policy, UpdateList{})) {}

    /// Of the run in a slot, parameters as its policy lists them.
    void set(int slot, const std::vector<double>& parameters) {
        Own* const own = parameters_.data() + slot / lanes * n_parameters_;
        for (Index k = 0; k < n_parameters_; ++k)
            set_lane(own[k], slot % lanes, static_cast<T>(parameters[static_cast<std::size_t>(k)]));
    }

    /// Move an array of weights of a group of slots, `size` packs, and what is kept of it.
    void apply(int group, V* weights, const V* gradient, Index size, Index stride, const Own* step,
               const Own* decay) const {
        entries_({weights, gradient, size, stride, step, decay,
                  parameters_.data() + group * n_parameters_, choices_.data()});
    }

private:
    using UpdateEntries = void (*)(const UpdateOperands<V, Own>&);

    template <class Policy>
    static constexpr UpdateEntries entries_by() {
        if constexpr (Policy::stores_gradients) {
            return update_entries<Policy, V, Own>;
        } else {
            return nullptr;
        }
    }
    template <class... Policies>
    static UpdateEntries entries_of(int policy, const std::tuple<Policies...>& /*list*/) {
        constexpr std::array<UpdateEntries, sizeof...(Policies)> all{entries_by<Policies>()...};
        return all[static_cast<std::size_t>(policy)];
    }

    Index n_parameters_;
    Arena<Own> parameters_;
    std::vector<char> choices_;
    UpdateEntries entries_;
};

}  // namespace linnet
