// The squared loss of a linear teacher under a spherically symmetric law.
#pragma once

#include <cmath>
#include <memory>

#include "base/entries.hpp"
#include "linnet/loss.hpp"
#include "losses/engine.hpp"
#include "losses/packed_numbers.hpp"
#include "losses/samples.hpp"

namespace linnet {

/// The mean over the law: 1/2 (n_outputs noise_std^2 + m2 |P - teacher|^2), m2 the second moment of a
/// coordinate.
template <class V>
class TeacherEngine final : public LossEngine<V> {
public:
    using T = ScalarOf<V>;
    using LossEngine<V>::lanes;

    TeacherEngine(const LossData& data, int n_slots)
        : LossEngine<V>(n_slots),
          run_shape_(data.run_shape),
          teacher_(data.array("teacher"), data.n_outputs * data.n_inputs, n_slots),
          moment_(data.array("second_moment"), 1, n_slots),
          least_loss_(data.array("least_loss"), 1, n_slots) {}

    void set_run(int slot, Index run, Index step) override {
        LossEngine<V>::set_run(slot, run, step);
        if (run < 0) return;
        for (PackedNumbers<V>* const numbers : {&teacher_, &moment_, &least_loss_})
            numbers->set_run(slot, run, run_shape_);
    }
    void residual(int group, const Entries<V>& product, const Places<V>& to) override {
        V factor = *moment_.of(group);
        for (int r = 0; r < lanes && this->is_scaled(); ++r) {
            const double scale = std::exp(this->log_scale(group * lanes + r));
            set_lane(factor, r, static_cast<T>(static_cast<double>(get_lane(factor, r)) * scale));
        }
        const V* const teacher = teacher_.of(group);
        for (Index i = 0; i < product.rows; ++i) {
            for (Index j = 0; j < product.cols; ++j)
                to(i, j) = (product(i, j) - teacher[i * product.cols + j]) * factor;
        }
    }
    void curvature(int group, const Entries<V>& /*product*/, const Entries<V>& direction,
                   const Places<V>& to) override {
        const V moment = *moment_.of(group);
        for (Index i = 0; i < direction.rows; ++i) {
            for (Index j = 0; j < direction.cols; ++j) to(i, j) = direction(i, j) * moment;
        }
    }
    V loss(int group, const Entries<V>& product) override {
        const V* const teacher = teacher_.of(group);
        V total{};
        for (Index i = 0; i < product.rows; ++i) {
            V row{};
            for (Index j = 0; j < product.cols; ++j) {
                const V apart = product(i, j) - teacher[i * product.cols + j];
                row = fma(apart, apart, row);
            }
            total = total + row;
        }
        return fma(broadcast<V>(0.5F) * *moment_.of(group), total, *least_loss_.of(group));
    }

private:
    std::vector<Index> run_shape_;
    PackedNumbers<V> teacher_, moment_, least_loss_;
};

struct TeacherLoss {
    static LossDeclaration declaration() {
        using Type = LossField::Type;
        LossDeclaration loss;
        loss.name = "teacher";
        loss.fields = {{"teacher", Type::array, {LossAxis::output, LossAxis::input}},
                       {"noise_std", Type::array},
                       {"second_moment", Type::array},
                       {"least_loss", Type::array}};
        loss.can_draw = true;
        loss.draws_fresh = true;
        return loss;
    }
    template <class V>
    static std::unique_ptr<LossEngine<V>> engine(const LossData& data, const Draws* draws,
                                                 int n_slots) {
        if (draws != nullptr)
            return std::make_unique<SampleEngine<V, Squares>>(data, draws, n_slots);
        return std::make_unique<TeacherEngine<V>>(data, n_slots);
    }
    static double work(const LossData& data, const Draws* draws) {
        if (draws != nullptr) return work_of_draws(data, *draws);
        return 2 * static_cast<double>(data.n_inputs * data.n_outputs);
    }
};

}  // namespace linnet
