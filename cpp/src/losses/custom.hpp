// A loss that the user has written.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "linnet/loss.hpp"
#include "losses/engine.hpp"

namespace linnet {

/// Calls a function with the products of all runs that are there, in double precision. What it said
/// of them is remembered: a value that is asked for after a gradient costs no call.
template <class V>
class CustomEngine final : public LossEngine<V> {
public:
    using T = ScalarOf<V>;
    using LossEngine<V>::lanes;

    /// data must outlive this.
    CustomEngine(const LossData& data, int n_slots)
        : LossEngine<V>(n_slots),
          data_(data),
          function_(*data.find<LossFunction>("function")),
          parameters_(data.array("parameters")),
          size_(data.n_outputs * data.n_inputs),
          n_parameters_(parameters_.data == nullptr ? 0 : data.sample_extent),
          asked_(static_cast<std::size_t>(n_slots)),
          places_(static_cast<std::size_t>(n_slots), -1),
          products_(static_cast<std::size_t>(n_slots * size_)),
          gradients_(products_.size()),
          own_parameters_(static_cast<std::size_t>(n_slots * n_parameters_)),
          values_(static_cast<std::size_t>(n_slots)),
          product_(static_cast<std::size_t>(size_)) {
        asked_.clear();
    }

    void set_run(int slot, Index run, Index step) override {
        LossEngine<V>::set_run(slot, run, step);
        places_[static_cast<std::size_t>(slot)] = -1;
    }

    void residual(int group, const Entries<V>& product, const Places<V>& to) override {
        residuals(group, group + 1, &product, &to);
    }
    void residuals(int first_group, int last_group, const Entries<V>* products,
                   const Places<V>* to) override {
        ask(first_group, last_group, products);
        for (int g = first_group; g < last_group; ++g) {
            const Places<V>& places = to[g - first_group];
            for (Index i = 0; i < places.rows; ++i) std::fill_n(&places(i, 0), places.cols, V{});
            for (int lane = 0; lane < lanes; ++lane) {
                const int slot = g * lanes + lane;
                if (this->run(slot) < 0) continue;
                const double factor = this->is_scaled() ? std::exp(this->log_scale(slot)) : 1;
                const double* const gradient = gradients_.data() + place(slot) * size_;
                for (Index i = 0; i < places.rows; ++i) {
                    for (Index j = 0; j < places.cols; ++j)
                        set_lane(places(i, j), lane,
                                 static_cast<T>(gradient[i * places.cols + j] * factor));
                }
            }
        }
    }

    V loss(int group, const Entries<V>& product) override {
        prepare(group, group + 1, &product);
        V values{};
        for (int lane = 0; lane < lanes; ++lane) {
            const int slot = group * lanes + lane;
            if (this->run(slot) >= 0)
                set_lane(values, lane,
                         static_cast<T>(values_[static_cast<std::size_t>(place(slot))]));
        }
        return values;
    }
    void prepare(int first_group, int last_group, const Entries<V>* products) override {
        for (int g = first_group; g < last_group; ++g) {
            for (int lane = 0; lane < lanes; ++lane) {
                if (!is_known(g * lanes + lane, lane, products[g - first_group])) {
                    ask(first_group, last_group, products);
                    return;
                }
            }
        }
    }

private:
    Index place(int slot) const { return places_[static_cast<std::size_t>(slot)]; }
    static void copy(int lane, const Entries<V>& product, double* to) {
        for (Index i = 0; i < product.rows; ++i) {
            for (Index j = 0; j < product.cols; ++j)
                *to++ = static_cast<double>(get_lane(product(i, j), lane));
        }
    }
    /// Has the function seen this product of the run in a slot, to the last bit?
    bool is_known(int slot, int lane, const Entries<V>& product) {
        if (this->run(slot) < 0) return true;
        if (place(slot) < 0) return false;
        copy(lane, product, product_.data());
        return std::memcmp(product_.data(), products_.data() + place(slot) * size_,
                           product_.size() * sizeof(double)) == 0;
    }
    /// Call the function with the products of all runs of some groups.
    void ask(int first_group, int last_group, const Entries<V>* products) {
        for (const int slot : asked_) places_[static_cast<std::size_t>(slot)] = -1;
        asked_.clear();
        for (int slot = first_group * lanes; slot < last_group * lanes; ++slot) {
            if (this->run(slot) < 0) continue;
            const auto n = static_cast<Index>(asked_.size());
            copy(slot % lanes, products[slot / lanes - first_group], products_.data() + n * size_);
            if (n_parameters_ > 0)
                std::copy_n(parameters_.at(this->run(slot), data_.run_shape), n_parameters_,
                            own_parameters_.data() + n * n_parameters_);
            asked_.push_back(slot);
        }
        if (asked_.empty()) return;
        const auto n = static_cast<Index>(asked_.size());
        std::fill_n(gradients_.data(), n * size_, 0.0);
        function_.call(n, products_.data(), n_parameters_ > 0 ? own_parameters_.data() : nullptr,
                       values_.data(), gradients_.data());
        for (Index k = 0; k < n; ++k)
            places_[static_cast<std::size_t>(asked_[static_cast<std::size_t>(k)])] = k;
    }

    const LossData& data_;
    const LossFunction& function_;
    RunArray<double> parameters_;
    Index size_, n_parameters_;
    std::vector<int> asked_;     // slots of the last call, in its order
    std::vector<Index> places_;  // per slot: which one of the last call it was; -1: none
    std::vector<double> products_, gradients_, own_parameters_, values_;
    std::vector<double> product_;
};

struct CustomLoss {
    static LossDeclaration declaration() {
        using Type = LossField::Type;
        LossDeclaration custom;
        custom.name = "custom";
        custom.fields = {{"parameters", Type::array, {LossAxis::sample}, true},
                         {"function", Type::function}};
        custom.is_called = true;
        custom.has_curvature = false;
        custom.takes_many = takes_many;
        custom.work_together = [](const LossData& data) {
            return takes_many(data) ? 1.0 / native_lanes<double> : 1.0;
        };
        return custom;
    }
    template <class V>
    static std::unique_ptr<LossEngine<V>> engine(const LossData& data, const Draws* /*draws*/,
                                                 int n_slots) {
        return std::make_unique<CustomEngine<V>>(data, n_slots);
    }
    /// Nobody knows. What takes many is slow, and the more work is said, the oftener is it asked
    /// whether to stop.
    static double work(const LossData& data, const Draws* /*draws*/) {
        if (takes_many(data)) return 4e7;
        return 1000 + 20 * static_cast<double>(data.n_outputs * data.n_inputs);
    }

private:
    static bool takes_many(const LossData& data) {
        return data.find<LossFunction>("function")->takes_many;
    }
};

}  // namespace linnet
