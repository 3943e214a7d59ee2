// The squared loss.
#pragma once

#include <memory>
#include <vector>

#include "base/arena.hpp"
#include "linnet/loss.hpp"
#include "losses/engine.hpp"

namespace linnet {

/// A loss made of moments, from a product and its residual.
template <class V>
class MomentsEngine final : public LossEngine<V> {
public:
    using T = ScalarOf<V>;
    using LossEngine<V>::lanes;

    MomentsEngine(const LossData& data, int n_slots)
        : LossEngine<V>(n_slots, true),
          run_shape_(data.run_shape),
          moments_(data.declaration().moments(data)),
          n_cross_(data.n_outputs * data.n_inputs),
          is_shared_(moments_.cross_cov.shared()),
          crosses_(is_shared_ ? 0 : n_cross_ * (n_slots / lanes)),
          powers_(n_slots / lanes) {
        if (!is_shared_) return;
        if constexpr (std::is_same_v<T, double>) {
            shared_ = moments_.cross_cov.data;
        } else {
            cast_.assign(moments_.cross_cov.data, moments_.cross_cov.data + n_cross_);
            shared_ = cast_.data();
        }
    }

    void set_run(int slot, Index run, Index step) override {
        LossEngine<V>::set_run(slot, run, step);
        if (run < 0) return;
        const auto put = [slot](V& x, double value) {
            set_lane(x, slot % lanes, static_cast<T>(value));
        };
        put(powers_.data()[slot / lanes], *moments_.output_power.at(run, run_shape_));
        if (is_shared_) return;
        V* const to = crosses_.data() + slot / lanes * n_cross_;
        const double* const from = moments_.cross_cov.at(run, run_shape_);
        for (Index i = 0; i < n_cross_; ++i) put(to[i], from[i]);
    }

    V loss(int group, const Entries<V>& product, const Entries<V>& residual) override {
        if (residual.data == nullptr) return loss_alone(group, product);
        const V power = powers_.data()[group];
        if (is_shared_) {
            const auto cross = [&](Index i, Index j) {
                return broadcast<V>(shared_[i * product.cols + j]);
            };
            return squared_loss(product, residual, cross, power);
        }
        const V* const own = crosses_.data() + group * n_cross_;
        const auto cross = [&](Index i, Index j) { return own[i * product.cols + j]; };
        return squared_loss(product, residual, cross, power);
    }

private:
    /// Of a product whose residual no machine has, run by run.
    V loss_alone(int group, const Entries<V>& product) const {
        V result{};
        for (int lane = 0; lane < lanes; ++lane) {
            const Index run = this->run(group * lanes + lane);
            if (run < 0) continue;
            const double* const cov = moments_.input_cov.at(run, run_shape_);
            const double* const cross = moments_.cross_cov.at(run, run_shape_);
            const auto entry = [&](Index i, Index j) {
                return static_cast<double>(get_lane(product(i, j), lane));
            };
            double total = *moments_.output_power.at(run, run_shape_);
            for (Index i = 0; i < product.rows; ++i) {
                double row = 0;
                for (Index j = 0; j < product.cols; ++j) {
                    double sum = -2 * cross[i * product.cols + j];
                    for (Index k = 0; k < product.cols; ++k)
                        sum = fma(entry(i, k), cov[k * product.cols + j], sum);
                    row = fma(entry(i, j), sum, row);
                }
                total += row;
            }
            set_lane(result, lane, static_cast<T>(0.5 * total));
        }
        return result;
    }

    std::vector<Index> run_shape_;
    Moments moments_;
    Index n_cross_;
    bool is_shared_;
    const T* shared_ = nullptr;  // cross_cov of all runs
    std::vector<T> cast_;
    Arena<V> crosses_, powers_;
};

struct SquaredLoss {
    static LossDeclaration declaration() {
        using Type = LossField::Type;
        LossDeclaration squared;
        squared.name = "squared";
        squared.fields = {{"input_cov", Type::array, {LossAxis::input, LossAxis::input}},
                          {"cross_cov", Type::array, {LossAxis::output, LossAxis::input}},
                          {"output_power", Type::array}};
        squared.moments = [](const LossData& data) {
            return Moments{data.array("input_cov"), data.array("cross_cov"),
                           data.array("output_power")};
        };
        return squared;
    }
    template <class V>
    static std::unique_ptr<LossEngine<V>> engine(const LossData& data, const Draws* /*draws*/,
                                                 int n_slots) {
        return std::make_unique<MomentsEngine<V>>(data, n_slots);
    }
    /// A plan has its residual among its products.
    static double work(const LossData& /*data*/, const Draws* /*draws*/) { return 0; }
};

}  // namespace linnet
