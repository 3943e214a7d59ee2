// Moves the weights of the runs of a machine by an update policy, from stored gradients.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/arena.hpp"
#include "base/entries.hpp"
#include "base/simd.hpp"
#include "linnet/update.hpp"
#include "updates/list.hpp"
#include "updates/powers.hpp"

namespace linnet {

/// An array of weights, its gradient, and what belongs to them. What a run has of its own is of type
/// Own: a pack of runs, or a plain number of a single run, whose rows are then padded to whole
/// vectors.
template <class Own>
struct UpdateOperands {
    Own* weights;
    Own* gradient;  ///< may be overwritten
    Index rows, cols, ld;
    Index stride;  ///< memory k lies k + 1 strides behind the weights
    const Own* step;
    const Own* decay;  ///< null without weight decay
    const Own* numbers;
    const int* choices;
    bool decoupled;  ///< weights shrink by step * decay, and the gradient knows nothing of it
    Own* scratch;
};

/// What entries of matrices are moved in: rows of a single run's are whole vectors.
template <class Own>
using UpdatePack = std::conditional_t<PackTraits<Own>::lanes == 1,
                                      Pack<ScalarOf<Own>, native_lanes<ScalarOf<Own>>>, Own>;

template <class P>
inline constexpr std::size_t n_numbers =
    P::parameters.size() + static_cast<std::size_t>(P::n_factors);

/// The mean square of the gradient of the objective over an array.
template <class Own>
Own mean_square(const UpdateOperands<Own>& o, bool has_decay) {
    Own total{};
    for (Index i = 0; i < o.rows; ++i) {
        Own row{};
        for (Index j = i * o.ld; j < i * o.ld + o.cols; ++j) {
            const Own g = has_decay ? fma(*o.decay, o.weights[j], o.gradient[j]) : o.gradient[j];
            row = fma(g, g, row);
        }
        total = total + row;
    }
    return total / broadcast<Own>(static_cast<ScalarOf<Own>>(o.rows * o.cols));
}

template <class P, class Own>
void update_entries(const UpdateOperands<Own>& o) {
    using V = UpdatePack<Own>;
    constexpr Index width = static_cast<Index>(sizeof(V) / sizeof(Own));
    const auto spread = [](Own x) {
        if constexpr (std::is_same_v<V, Own>) {
            return x;
        } else {
            return broadcast<V>(x);
        }
    };
    V* const weights = reinterpret_cast<V*>(o.weights);
    const V* const gradients = reinterpret_cast<const V*>(o.gradient);
    const Index size = o.rows * o.ld / width;
    const Index stride = o.stride / width;
    const V step = spread(*o.step);
    const V decay = o.decay == nullptr ? V{} : spread(*o.decay);
    const bool couples = o.decay != nullptr && !o.decoupled;
    std::array<V, n_numbers<P> + (P::sees_mean_square ? 1 : 0)> numbers;
    for (std::size_t k = 0; k < n_numbers<P>; ++k) numbers[k] = spread(o.numbers[k]);
    if constexpr (P::sees_mean_square) numbers.back() = spread(mean_square(o, couples));
    std::array<int, P::choices.size()> choices;
    for (std::size_t k = 0; k < choices.size(); ++k) choices[k] = o.choices[k];
    const V kept = o.decoupled ? broadcast<V>(1) - step * decay : V{};
    const auto go_through = [&](auto has_decay, auto shrinks) {
        for (Index i = 0; i < size; ++i) {
            V gradient = gradients[i];
            V weight = weights[i];
            if constexpr (has_decay.value) gradient = fma(decay, weight, gradient);
            if constexpr (shrinks.value) weight = kept * weight;
            std::array<V, P::n_memories> memory;
            for (int k = 0; k < P::n_memories; ++k)
                memory[static_cast<std::size_t>(k)] = weights[(k + 1) * stride + i];
            weights[i] =
                P::apply(weight, gradient, memory.data(), step, numbers.data(), choices.data());
            for (int k = 0; k < P::n_memories; ++k)
                weights[(k + 1) * stride + i] = memory[static_cast<std::size_t>(k)];
        }
    };
    if (o.decay == nullptr) {
        go_through(std::false_type{}, std::false_type{});
    } else if (couples) {
        go_through(std::true_type{}, std::false_type{});
    } else {
        go_through(std::false_type{}, std::true_type{});
    }
}

template <class P, class Own>
void update_array(const UpdateOperands<Own>& o) {
    const auto places = [&](Own* data) { return Places<Own>{data, o.ld, o.rows, o.cols}; };
    const Places<Own> weight = places(o.weights);
    const Places<Own> gradient = places(o.gradient);
    std::array<Places<Own>, P::n_memories> memory;
    for (int k = 0; k < P::n_memories; ++k)
        memory[static_cast<std::size_t>(k)] = places(o.weights + (k + 1) * o.stride);
    if (o.decay != nullptr) {
        const Own kept = broadcast<Own>(1) - *o.step * *o.decay;
        for (Index i = 0; i < o.rows; ++i) {
            for (Index j = 0; j < o.cols; ++j) {
                if (o.decoupled) {
                    weight(i, j) = kept * weight(i, j);
                } else {
                    gradient(i, j) = fma(*o.decay, weight(i, j), gradient(i, j));
                }
            }
        }
    }
    P::apply_to_array(weight, gradient, memory.data(), *o.step, o.numbers, o.choices, o.scratch);
}

/// Of the runs in the slots of a machine; Own: packs of runs, or plain numbers of a single run.
template <class Own>
class Updater {
public:
    using T = ScalarOf<Own>;
    static constexpr int lanes = PackTraits<Own>::lanes;

    /// largest: entries of the largest array.
    Updater(const Update& update, Index largest, int n_slots)
        : call_(call_of(update.policy, UpdateList{})),
          choices_(update.choices),
          decoupled_(update.decoupled),
          n_parameters_(update.parameters.size()),
          n_numbers_(static_cast<Index>(n_parameters_ + call_.n_factors)),
          numbers_(n_numbers_ * (n_slots / lanes)),
          scratch_(call_.n_scratch * largest),
          slots_(static_cast<std::size_t>(n_slots)),
          factors_(call_.n_factors),
          powers_(call_.n_powers) {
        for (Slot& slot : slots_) {
            slot.parameters.resize(n_parameters_);
            slot.powers.resize(call_.n_powers);
        }
    }

    /// Of the run in a slot: parameters as its policy lists them, and how many steps it remembers.
    void set(int slot, const std::vector<double>& parameters, Index n_steps) {
        Slot& own = at(slot);
        own.parameters = parameters;
        own.n = n_steps + 1;
        for (std::size_t k = 0; k < own.powers.size(); ++k) own.powers[k].set(parameters[k], own.n);
        for (std::size_t k = 0; k < n_parameters_; ++k) put(slot, k, parameters[k]);
        put_factors(slot);
    }
    /// The step of all runs has been taken.
    void advance() {
        if (call_.n_factors == 0) return;
        for (int slot = 0; slot < static_cast<int>(slots_.size()); ++slot) {
            Slot& own = at(slot);
            ++own.n;
            for (RunningPower& power : own.powers) power.advance();
            put_factors(slot);
        }
    }

    /// to <- by what the gradient of an array was divided in the last step of the run in a slot,
    /// step size aside; NaN if there was none, or by a policy that does not divide. memory: all that
    /// is kept of the array, one after the other.
    void find_scales(int slot, const double* memory, Index size, double* to) {
        const Slot& own = at(slot);
        if (call_.find_scales == nullptr || own.n < 2) {
            std::fill_n(to, size, std::numeric_limits<double>::quiet_NaN());
            return;
        }
        call_.find_scales(own.parameters.data(), static_cast<double>(own.n - 1), memory, size, to);
    }

    /// Move an array of weights of a group of slots, and what is kept of it.
    void apply(int group, Places<Own> weights, Own* gradient, Index stride, const Own* step,
               const Own* decay) {
        call_.update({weights.data, gradient, weights.rows, weights.cols, weights.ld, stride, step,
                      decay, numbers_.data() + group * n_numbers_, choices_.data(), decoupled_,
                      scratch_.data()});
    }

private:
    /// A policy, as this calls it.
    struct Call {
        void (*update)(const UpdateOperands<Own>&) = nullptr;
        void (*find_factors)(const double*, const double*, double, double*) = nullptr;
        void (*find_scales)(const double*, double, const double*, Index, double*) = nullptr;
        std::size_t n_factors = 0, n_powers = 0;
        Index n_scratch = 0;
    };
    struct Slot {
        std::vector<double> parameters;
        std::vector<RunningPower> powers;
        Index n = 1;  ///< the number of the step that is being taken
    };

    template <class P>
    static constexpr Call call_by() {
        Call call;
        call.n_factors = static_cast<std::size_t>(P::n_factors);
        call.n_powers = static_cast<std::size_t>(P::n_powers);
        call.n_scratch = P::n_scratch;
        if constexpr (P::n_factors > 0) call.find_factors = P::find_factors;
        if constexpr (P::divides) call.find_scales = P::find_scales;
        if constexpr (P::n_scratch > 0) {
            call.update = update_array<P, Own>;
        } else if constexpr (P::stores_gradients) {
            call.update = update_entries<P, Own>;
        }
        return call;
    }
    template <class... Policies>
    static Call call_of(int policy, const std::tuple<Policies...>& /*list*/) {
        constexpr std::array<Call, sizeof...(Policies)> all{call_by<Policies>()...};
        return all[static_cast<std::size_t>(policy)];
    }

    Slot& at(int slot) { return slots_[static_cast<std::size_t>(slot)]; }
    void put(int slot, std::size_t k, double number) {
        set_lane(numbers_.data()[slot / lanes * n_numbers_ + static_cast<Index>(k)], slot % lanes,
                 static_cast<T>(number));
    }
    void put_factors(int slot) {
        if (call_.n_factors == 0) return;
        const Slot& own = at(slot);
        for (std::size_t k = 0; k < powers_.size(); ++k) powers_[k] = own.powers[k].value();
        call_.find_factors(own.parameters.data(), powers_.data(), static_cast<double>(own.n),
                           factors_.data());
        for (std::size_t k = 0; k < factors_.size(); ++k) put(slot, n_parameters_ + k, factors_[k]);
    }

    Call call_;
    std::vector<int> choices_;
    bool decoupled_;
    std::size_t n_parameters_;
    Index n_numbers_;
    Arena<Own> numbers_, scratch_;
    std::vector<Slot> slots_;
    std::vector<double> factors_, powers_;
};

}  // namespace linnet
