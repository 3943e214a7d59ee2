// Measures of weights and products by themselves.
#pragma once

#include <cmath>
#include <memory>
#include <vector>

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

}  // namespace linnet
