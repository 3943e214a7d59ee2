// The logistic loss under a spherically symmetric law.
#pragma once

#include <cmath>
#include <memory>

#include "base/arena.hpp"
#include "linnet/loss.hpp"
#include "losses/engine.hpp"
#include "losses/packed_numbers.hpp"
#include "losses/radial_functions.hpp"
#include "losses/sample_data.hpp"
#include "losses/samples.hpp"

namespace linnet {

/// The mean logistic loss over a spherically symmetric law with labels sgn(v . x), in closed form
/// but for two functions of the norm.
template <class V>
class SphericalEngine final : public LossEngine<V> {
public:
    using T = ScalarOf<V>;
    using LossEngine<V>::lanes;

    /// data must outlive this.
    SphericalEngine(const LossData& data, int n_slots)
        : LossEngine<V>(n_slots),
          data_(data),
          radial_(*data.law()),
          n_features_(data.n_inputs),
          directions_(data_.direction, n_features_, n_slots),
          kept_(n_slots / lanes) {}

    void set_run(int slot, Index run, Index step) override {
        LossEngine<V>::set_run(slot, run, step);
        if (run < 0) return;
        directions_.set_run(slot, run, data_.run_shape);
        set_lane(kept_.data()[slot / lanes], slot % lanes,
                 static_cast<T>(1 - 2 * data_.noise(run)));
    }

    void residual(int group, const Entries<V>& of, const Places<V>& places) override {
        const V* const product = of.data;
        V* const to = places.data;
        const V* const v = directions_.of(group);
        V square{};
        for (Index j = 0; j < n_features_; ++j) square = fma(product[j], product[j], square);
        const V r = square_root(square);
        V h{};
        V q{};
        for (int lane = 0; lane < lanes; ++lane) {
            const RadialFunctions::HQ own = radial_.hq(static_cast<double>(get_lane(r, lane)));
            set_lane(h, lane, static_cast<T>(own.h));
            set_lane(q, lane, static_cast<T>(own.q));
        }
        const V one = broadcast<V>(1);
        const V inverse = select(less(V{}, r), one / r, V{});
        const V kappa = broadcast<V>(static_cast<T>(radial_.kappa()));
        const V kept = kept_.data()[group];
        // q is what is small at small norms, h at large ones: neither is to be lost beside kappa.
        const auto is_small = less(q, h);
        const V at_small = q * inverse;
        const V to_direction = kappa * kept;
        for (Index j = 0; j < n_features_; ++j) {
            const V unit = product[j] * inverse;
            const V small = fma(at_small, product[j], -(to_direction * v[j]));
            const V large = fma(kappa, fma(-kept, v[j], unit), -(h * unit));
            to[j] = select(is_small, small, large);
        }
        if (!this->is_scaled()) return;
        V scale{};
        for (int lane = 0; lane < lanes; ++lane)
            set_lane(scale, lane, static_cast<T>(std::exp(this->log_scale(group * lanes + lane))));
        for (Index j = 0; j < n_features_; ++j) to[j] = to[j] * scale;
    }

    /// The residual is q(r) u beside what is constant, u = w / r.
    void curvature(int /*group*/, const Entries<V>& of, const Entries<V>& direction,
                   const Places<V>& to) override {
        const V* const product = of.data;
        V square{};
        for (Index j = 0; j < n_features_; ++j) square = fma(product[j], product[j], square);
        const V r = square_root(square);
        V slope{};
        V across{};
        for (int lane = 0; lane < lanes; ++lane) {
            const auto norm = static_cast<double>(get_lane(r, lane));
            set_lane(slope, lane, static_cast<T>(radial_.slope(norm)));
            set_lane(across, lane, static_cast<T>(radial_.mean_slope(norm)));
        }
        const V inverse = select(less(V{}, r), broadcast<V>(1) / r, V{});
        V along{};
        for (Index j = 0; j < n_features_; ++j)
            along = fma(product[j] * inverse, direction.data[j], along);
        const V more = (slope - across) * along;
        for (Index j = 0; j < n_features_; ++j)
            to.data[j] = fma(more, product[j] * inverse, across * direction.data[j]);
    }

    V loss(int group, const Entries<V>& of) override {
        const V* const product = of.data;
        const V* const v = directions_.of(group);
        V square{};
        for (Index j = 0; j < n_features_; ++j) square = fma(product[j], product[j], square);
        const V r = square_root(square);
        V apart{};  // |w - r v|^2 = 2 r (r - v . w)
        for (Index j = 0; j < n_features_; ++j) {
            const V difference = fma(-r, v[j], product[j]);
            apart = fma(difference, difference, apart);
        }
        V radial{};
        for (int lane = 0; lane < lanes; ++lane)
            set_lane(radial, lane,
                     static_cast<T>(radial_.loss(static_cast<double>(get_lane(r, lane)))));
        const V short_of =
            select(less(V{}, r), apart / (broadcast<V>(2) * larger(r, broadcast<V>(1e-30F))), V{});
        const V kept = kept_.data()[group];
        const V total = fma(kept, short_of, (broadcast<V>(1) - kept) * r);
        return fma(broadcast<V>(static_cast<T>(radial_.kappa())), total, radial);
    }

private:
    SampleData data_;
    RadialFunctions radial_;
    Index n_features_;
    PackedNumbers<V> directions_;
    Arena<V> kept_;
};

struct SphericalLoss {
    static LossDeclaration declaration() {
        LossDeclaration loss;
        loss.name = "spherical";
        loss.fields = {{"law", LossField::Type::law},
                       {"direction", LossField::Type::array, {LossAxis::input}},
                       label_noise_field()};
        loss.needs_one_output = true;
        loss.can_draw = true;
        loss.draws_fresh = true;
        return loss;
    }
    template <class V>
    static std::unique_ptr<LossEngine<V>> engine(const LossData& data, const Draws* draws,
                                                 int n_slots) {
        if (draws != nullptr)
            return std::make_unique<SampleEngine<V, Logistic>>(data, draws, n_slots);
        return std::make_unique<SphericalEngine<V>>(data, n_slots);
    }
    static double work(const LossData& data, const Draws* draws) {
        if (draws != nullptr) return work_of_draws(data, *draws);
        return 6 * static_cast<double>(data.n_inputs) + 500;
    }
};

}  // namespace linnet
