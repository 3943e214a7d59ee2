// The squared loss on some entries of a product: matrix completion.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "base/arena.hpp"
#include "linnet/loss.hpp"
#include "losses/choice.hpp"
#include "losses/engine.hpp"
#include "losses/packed_numbers.hpp"

namespace linnet {

/// 1/(2n) times the sum over n entries of the squares of their distances to values: all entries
/// that are observed, or some that are chosen for each step.
template <class V>
class CompletionEngine final : public LossEngine<V> {
public:
    using T = ScalarOf<V>;
    using LossEngine<V>::lanes;

    CompletionEngine(const LossData& data, const Draws* draws, int n_slots)
        : LossEngine<V>(n_slots),
          run_shape_(data.run_shape),
          draws_(draws),
          n_observed_(data.sample_extent),
          choice_(draws, data.run_shape, n_observed_, n_slots),
          rows_(data.array<std::int64_t>("rows")),
          cols_(data.array<std::int64_t>("cols")),
          slots_(static_cast<std::size_t>(n_slots), Observed{rows_.data, cols_.data}),
          targets_(data.array("values"), n_observed_, n_slots) {}

    void set_run(int slot, Index run, Index step) override {
        LossEngine<V>::set_run(slot, run, step);
        if (run < 0) return;
        slots_[static_cast<std::size_t>(slot)] = {rows_.at(run, run_shape_),
                                                  cols_.at(run, run_shape_)};
        targets_.set_run(slot, run, run_shape_);
    }

    void residual(int group, const Entries<V>& product, const Places<V>& to) override {
        for (Index i = 0; i < to.rows; ++i) std::fill_n(&to(i, 0), to.cols, V{});
        V factors{};
        for (int r = 0; r < lanes; ++r) set_lane(factors, r, factor(group * lanes + r));
        if (sees_same_entries()) {
            const Observed at = slots_.front();
            const V* const target = targets_.of(group);
            for (Index k = 0; k < n_observed_; ++k) {
                const Index i = at.rows[k];
                const Index j = at.cols[k];
                to(i, j) = (product(i, j) - target[k]) * factors;
            }
            return;
        }
        for_each_run(group, [&](int lane, Index i, Index j, T target) {
            const T moved = (get_lane(product(i, j), lane) - target) * get_lane(factors, lane);
            // What is drawn may be drawn twice; a sum with 0 would make 0 of -0.
            const T known = draws_ == nullptr ? moved : get_lane(to(i, j), lane) + moved;
            set_lane(to(i, j), lane, known);
        });
    }

    void curvature(int group, const Entries<V>& /*product*/, const Entries<V>& direction,
                   const Places<V>& to) override {
        for (Index i = 0; i < to.rows; ++i) std::fill_n(&to(i, 0), to.cols, V{});
        V factors{};
        for (int r = 0; r < lanes; ++r) set_lane(factors, r, factor(group * lanes + r));
        for_each_run(group, [&](int lane, Index i, Index j, T /*target*/) {
            const T moved = get_lane(direction(i, j), lane) * get_lane(factors, lane);
            set_lane(to(i, j), lane, moved);
        });
    }

    V loss(int group, const Entries<V>& product) override {
        V sums[n_sums] = {};
        if (sees_same_entries()) {
            const Observed at = slots_.front();
            const V* const target = targets_.of(group);
            for (Index k = 0; k < n_observed_; ++k) {
                const V difference = product(at.rows[k], at.cols[k]) - target[k];
                sums[k % n_sums] = fma(difference, difference, sums[k % n_sums]);
            }
        } else {
            Index n_seen[lanes] = {};
            for_each_run(group, [&](int lane, Index i, Index j, T target) {
                const T difference = get_lane(product(i, j), lane) - target;
                V& sum = sums[n_seen[lane]++ % n_sums];
                set_lane(sum, lane, fma(difference, difference, get_lane(sum, lane)));
            });
        }
        const V total = (sums[0] + sums[1]) + (sums[2] + sums[3]);
        V twice{};
        for (int r = 0; r < lanes; ++r) {
            const Index n_entries = choice_.size(this->step(group * lanes + r));
            set_lane(twice, r, static_cast<T>(2 * static_cast<double>(n_entries)));
        }
        return total / twice;
    }

private:
    struct Observed {
        const std::int64_t *rows, *cols;
    };
    static constexpr Index n_sums = 4;  // their chains overlap

    bool sees_same_entries() const { return draws_ == nullptr && rows_.shared() && cols_.shared(); }
    /// Observed values of a group.
    T factor(int slot) const {
        const double scale = this->is_scaled() ? std::exp(this->log_scale(slot)) : 1;
        return static_cast<T>(scale / static_cast<double>(choice_.size(this->step(slot))));
    }
    /// visit(lane, row, column, value) for the entries of every run of a group.
    template <class Visit>
    void for_each_run(int group, const Visit& visit) {
        for (int lane = 0; lane < lanes; ++lane) {
            const int slot = group * lanes + lane;
            if (this->run(slot) < 0) continue;
            const Observed at = slots_[static_cast<std::size_t>(slot)];
            const auto see = [&](Index k) {
                visit(lane, at.rows[k], at.cols[k], get_lane(targets_.of(group)[k], lane));
            };
            const Index n_entries = choice_.size(this->step(slot));
            if (draws_ == nullptr) {
                for (Index k = 0; k < n_entries; ++k) see(k);
                continue;
            }
            for (Index first = 0; first < n_entries; first += philox_lanes) {
                Index places[philox_lanes];
                choice_(slot, this->run(slot), this->step(slot), first, places);
                const Index n = std::min<Index>(philox_lanes, n_entries - first);
                for (Index r = 0; r < n; ++r) see(places[r]);
            }
        }
    }

    std::vector<Index> run_shape_;
    const Draws* draws_;
    Index n_observed_;
    Choice choice_;
    RunArray<std::int64_t> rows_, cols_;
    std::vector<Observed> slots_;
    PackedNumbers<V> targets_;
};

struct CompletionLoss {
    static LossDeclaration declaration() {
        using Type = LossField::Type;
        LossDeclaration completion;
        completion.name = "completion";
        completion.fields = {{"rows", Type::places, {LossAxis::sample}},
                             {"cols", Type::places, {LossAxis::sample}},
                             {"values", Type::array, {LossAxis::sample}}};
        completion.can_draw = true;
        completion.check = [](const LossData& data) {
            if (data.sample_extent < 1) throw std::invalid_argument("rows must not be empty");
            check_places(data, "rows", data.n_outputs);
            check_places(data, "cols", data.n_inputs);
        };
        return completion;
    }
    template <class V>
    static std::unique_ptr<LossEngine<V>> engine(const LossData& data, const Draws* draws,
                                                 int n_slots) {
        return std::make_unique<CompletionEngine<V>>(data, draws, n_slots);
    }
    /// Entries lie apart, and a step of a run on its own does one after the other.
    static double work(const LossData& data, const Draws* draws) {
        const Index n = draws == nullptr ? data.sample_extent : draws->most(data.sample_extent);
        return (draws == nullptr ? 8 : 16) * static_cast<double>(n);
    }

private:
    static void check_places(const LossData& data, const char* name, Index extent) {
        const auto array = data.array<std::int64_t>(name);
        const Index n_runs = array.shared() ? 1 : n_runs_of(data.run_shape);
        for (Index run = 0; run < n_runs; ++run) {
            const std::int64_t* const places = array.at(run, data.run_shape);
            const auto ends = std::minmax_element(places, places + data.sample_extent);
            if (*ends.first < 0 || *ends.second >= extent)
                throw std::invalid_argument(std::string(name) + " is out of range");
        }
    }
};

}  // namespace linnet
