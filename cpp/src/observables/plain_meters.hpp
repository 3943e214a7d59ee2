// Measures of weights and products by themselves.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "base/arena.hpp"
#include "losses/packed_numbers.hpp"
#include "observables/meter.hpp"

namespace linnet {

/// Norm of the difference of the weights to given ones, without overflow on the way.
template <class Machine>
class WeightDistance final : public Meter<Machine> {
public:
    using typename Meter<Machine>::View;
    using typename Meter<Machine>::V;

    WeightDistance(const std::vector<Index>& sizes, const Measure& measure, int n_slots) {
        for (std::size_t l = 0; l < sizes.size(); ++l)
            from_.push_back(
                std::make_unique<PackedNumbers<V>>(measure.arrays[l], sizes[l], n_slots));
    }
    void set_run(int slot, Index run, const std::vector<Index>& run_shape) override {
        for (const auto& layer : from_) {
            if (run >= 0) layer->set_run(slot, run, run_shape);
        }
    }
    bool evaluate(const View& at, V* to) override {
        V largest{};
        for_each(at, [&](V x) { largest = larger(largest, absolute(x)); });
        const auto is_apart = less(V{}, largest);
        const V scale = select(is_apart, largest, broadcast<V>(1));
        V total{};
        for_each(at, [&](V x) {
            const V part = x / scale;
            total = fma(part, part, total);
        });
        *to = square_root(total) * scale;
        return true;
    }

private:
    template <class Visit>
    void for_each(const View& at, const Visit& visit) const {
        for (std::size_t l = 0; l < from_.size(); ++l) {
            const Entries<V> weights = at.entries(at.plan().weights[l]);
            const V* from = from_[l]->of(at.group());
            for (Index i = 0; i < weights.rows; ++i) {
                for (Index j = 0; j < weights.cols; ++j) visit(weights(i, j) - *from++);
            }
        }
    }

    std::vector<std::unique_ptr<PackedNumbers<V>>> from_;
};

/// u_i^T P v_i of given vectors.
template <class Machine>
class Overlap final : public Meter<Machine> {
public:
    using typename Meter<Machine>::View;
    using typename Meter<Machine>::V;

    Overlap(Index n_out, Index n_in, const Measure& measure, int n_slots)
        : count_(measure.count),
          left_(measure.arrays[0], count_ * n_out, n_slots),
          right_(measure.arrays[1], count_ * n_in, n_slots) {}

    void set_run(int slot, Index run, const std::vector<Index>& run_shape) override {
        if (run < 0) return;
        left_.set_run(slot, run, run_shape);
        right_.set_run(slot, run, run_shape);
    }
    bool evaluate(const View& at, V* to) override {
        const Entries<V> product = at.product();
        for (Index k = 0; k < count_; ++k) {
            const V* const u = left_.of(at.group()) + k * product.rows;
            const V* const v = right_.of(at.group()) + k * product.cols;
            V total{};
            for (Index i = 0; i < product.rows; ++i) {
                V row{};
                for (Index j = 0; j < product.cols; ++j) row = fma(product(i, j), v[j], row);
                total = fma(u[i], row, total);
            }
            to[k] = total;
        }
        return true;
    }

private:
    Index count_;
    PackedNumbers<V> left_, right_;
};

/// (sum of s^p)^(1/p) over the singular values of the product; of p = infinity the largest.
template <class Machine>
class SchattenNorm final : public Meter<Machine> {
public:
    using typename Meter<Machine>::View;
    using typename Meter<Machine>::V;
    using Meter<Machine>::lanes;

    explicit SchattenNorm(const Measure& measure) : power_(measure.power) {}

    bool evaluate(const View& at, V* to) override {
        const Index n = std::min(at.plan().n_inputs(), at.plan().n_outputs());
        for (int lane = 0; lane < lanes; ++lane) {
            double largest = 0;
            double sum = 0;
            const auto value = [&](Index i) { return get_lane(at.singular_values()[i], lane); };
            for (Index i = 0; i < n; ++i) {
                largest = std::max(largest, value(i));
                sum += 0 * value(i);  // NaN, if they are
            }
            for (Index i = 0; i < n && largest > 0 && std::isfinite(power_); ++i)
                sum += power_ == 1 ? value(i) / largest : std::pow(value(i) / largest, power_);
            const double norm = std::isfinite(power_) && largest > 0 && power_ != 1
                                    ? largest * std::pow(sum, 1 / power_)
                                    : largest * (std::isfinite(power_) ? sum : 1 + sum);
            set_lane(*to, lane, std::isnan(sum) ? sum : norm);
        }
        return true;
    }

private:
    double power_;
};

/// Frobenius norms of what the flow conserves, one for each pair of neighbouring arrays.
template <class Machine>
class Conserved final : public Meter<Machine> {
public:
    using typename Meter<Machine>::View;
    using typename Meter<Machine>::V;

    Conserved(const std::vector<Index>& sizes, const Measure& measure)
        : balances_(measure.balances),
          n_pairs_(static_cast<Index>(sizes.size()) - 1) {
        Index n_weights = 0;
        for (const Index size : sizes) {
            firsts_.push_back(n_weights);
            n_weights += size;
        }
        Index below = 0;
        Index above = 0;
        for (const Balance& one : balances_) {
            below = std::max(below, one.n_units * one.below.length);
            above = std::max(above, one.n_units * one.above.length);
        }
        weights_ = Arena<V>(n_weights);
        below_ = Arena<V>(below);
        above_ = Arena<V>(above);
    }
    bool evaluate(const View& at, V* to) override {
        at.get(at.plan().weights, weights_.data());
        std::fill_n(to, n_pairs_, V{});
        for (const Balance& one : balances_) {
            const V* const lower = weights_.data() + firsts_[static_cast<std::size_t>(one.pair)];
            const V* const upper =
                weights_.data() + firsts_[static_cast<std::size_t>(one.pair) + 1];
            for (Index set = 0; set < one.n_sets; ++set) {
                pick(one.below, one.n_units, set, lower, below_.data());
                pick(one.above, one.n_units, set, upper, above_.data());
                to[one.pair] = to[one.pair] + square_of(one);
            }
            if (at.pulse()) return false;
        }
        for (Index pair = 0; pair < n_pairs_; ++pair) to[pair] = square_root(to[pair]);
        return true;
    }

private:
    static void pick(const Balance::Side& side, Index n_units, Index set, const V* weights, V* to) {
        const Index size = n_units * side.length;
        for (Index i = 0; i < size; ++i) {
            const auto k = static_cast<std::size_t>(set * size + i);
            to[i] = weights[side.weights[k]] + broadcast<V>(side.shifts[k]);
        }
    }
    static V dot(const V* rows, Index length, Index i, Index j) {
        V total{};
        for (Index k = 0; k < length; ++k)
            total = fma(rows[i * length + k], rows[j * length + k], total);
        return total;
    }
    /// Of what was picked.
    V square_of(const Balance& one) const {
        V total{};
        for (Index i = 0; i < one.n_units; ++i) {
            V row{};
            for (Index j = 0; j <= i; ++j) {
                const V gap =
                    broadcast<V>(one.above.factor) * dot(above_.data(), one.above.length, i, j) -
                    broadcast<V>(one.below.factor) * dot(below_.data(), one.below.length, i, j);
                row = fma(broadcast<V>(i == j ? 1 : 2) * gap, gap, row);
            }
            total = total + row;
        }
        return total;
    }

    const std::vector<Balance>& balances_;
    Index n_pairs_;
    std::vector<Index> firsts_;  // of the arrays among all weights
    Arena<V> weights_, below_, above_;
};

}  // namespace linnet
