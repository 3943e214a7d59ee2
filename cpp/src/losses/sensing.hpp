// The squared loss on inner products of a product with given matrices: matrix sensing.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "base/arena.hpp"
#include "linnet/loss.hpp"
#include "losses/engine.hpp"
#include "losses/readings.hpp"
#include "losses/sample_kernels.hpp"

namespace linnet {

/// What the engines of both forms have in common: 1/(2n) times the sum over n measurements of the
/// squares of their errors.
template <class V>
class MeasuringEngine : public LossEngine<V> {
public:
    using T = ScalarOf<V>;
    using P = Pack<T, native_lanes<T>>;
    using Chunk = typename Readings<T>::Chunk;
    using LossEngine<V>::lanes;

    MeasuringEngine(const LossData& data, const Draws* draws, int n_slots,
                    std::vector<typename Readings<T>::Array> arrays)
        : LossEngine<V>(n_slots),
          readings_(data, draws, n_slots, std::move(arrays)) {}

    void set_run(int slot, Index run, Index step) override {
        LossEngine<V>::set_run(slot, run, step);
        readings_.set_run(slot, run);
    }

protected:
    static constexpr std::size_t targets = 0;  // the first array

    template <class Visit>
    void for_each_chunk(int slot, const Visit& visit) {
        readings_.for_each_chunk(slot, this->run(slot), this->step(slot), visit);
    }
    const T* of_chunk(std::size_t array, int slot, const Chunk& chunk) const {
        return readings_.of_chunk(array, slot, chunk);
    }
    /// What the sum over samples is to be multiplied by.
    T factor(int slot) const {
        const double scale = this->is_scaled() ? std::exp(this->log_scale(slot)) : 1;
        return static_cast<T>(scale / static_cast<double>(readings_.n_samples(this->step(slot))));
    }
    /// Measurements of a chunk -> what they are beyond the targets, if they are to be compared; 0
    /// where there is no sample.
    void subtract_targets(int slot, const Chunk& chunk, T* measured, bool compare) const {
        const T* const target = of_chunk(targets, slot, chunk);
        for (Index b = 0; b < chunk.n_vectors() && compare; ++b) {
            T* const at = measured + b * native_lanes<T>;
            store(at, load<P>(at) - load<P>(target + b * native_lanes<T>));
        }
        std::fill(measured + chunk.n, measured + chunk.n_vectors() * native_lanes<T>, T{0});
    }
    static P add_squares(const Chunk& chunk, const T* errors, P sum) {
        for (Index b = 0; b < chunk.n_vectors(); ++b) {
            const P error = load<P>(errors + b * native_lanes<T>);
            sum = fma(error, error, sum);
        }
        return sum;
    }
    T mean_of(int slot, P squares) const {
        const auto n = static_cast<double>(readings_.n_samples(this->step(slot)));
        return sum_of_lanes(squares) / static_cast<T>(2 * n);
    }

    Readings<T> readings_;
};

/// Measurements by whole matrices: a product is a row of out * in features.
template <class V>
class SensingEngine final : public MeasuringEngine<V> {
public:
    using Base = MeasuringEngine<V>;
    using Base::lanes;
    using typename Base::Chunk;
    using typename Base::P;
    using typename Base::T;

    SensingEngine(const LossData& data, const Draws* draws, int n_slots)
        : Base(data, draws, n_slots,
               {{"targets", 1}, {"measurements", data.n_outputs * data.n_inputs}}),
          n_features_(data.n_outputs * data.n_inputs),
          errors_(lanes * sample_chunk),
          sums_(n_features_ * lanes),
          flat_(n_features_) {}

    void residual(int group, const Entries<V>& product, const Places<V>& to) override {
        add_up(group, product, to, true);
    }
    void curvature(int group, const Entries<V>& /*product*/, const Entries<V>& direction,
                   const Places<V>& to) override {
        add_up(group, direction, to, false);
    }

    V loss(int group, const Entries<V>& product) override {
        V result{};
        const V* const flat = flattened(product);
        for_each_bunch(group, [&](int first, int count) {
            const int slot = group * lanes + first;
            P totals[lanes] = {};
            this->for_each_chunk(slot, [&](const Chunk& chunk) {
                measure(chunk, slot, flat, first, count);
                for (int r = 0; r < count; ++r)
                    totals[r] =
                        this->add_squares(chunk, errors_.data() + r * sample_chunk, totals[r]);
            });
            for (int r = 0; r < count; ++r)
                set_lane(result, first + r, this->mean_of(slot + r, totals[r]));
        });
        return result;
    }

private:
    static constexpr std::size_t measurements = 1;

    /// to <- the mean of what is measured of a product, beyond the targets if they are compared,
    /// times what it is measured by.
    void add_up(int group, const Entries<V>& product, const Places<V>& to, bool compare) {
        const V* const flat = flattened(product);
        for_each_bunch(group, [&](int first, int count) {
            const int slot = group * lanes + first;
            std::fill_n(sums_.data(), n_features_ * count, P{});
            this->for_each_chunk(slot, [&](const Chunk& chunk) {
                const T* const m = measure(chunk, slot, flat, first, count, compare);
                add_weighted(m, chunk.ld, n_features_, chunk.n_vectors(), errors_.data(), count,
                             sums_.data());
            });
            V factors{};
            for (int r = 0; r < count; ++r) set_lane(factors, r, this->factor(slot + r));
            const P* sum = sums_.data();
            for (Index i = 0; i < to.rows; ++i) {
                for (Index j = 0; j < to.cols; ++j, sum += count)
                    write(to(i, j), first, count, sum, factors);
            }
        });
    }
    template <class Do>
    void for_each_bunch(int group, const Do& do_them) {
        const auto has_run = [this](int slot) { return this->run(slot) >= 0; };
        this->readings_.template for_each_bunch<lanes>(group * lanes, measurements, has_run,
                                                       do_them);
    }
    /// The entries of a product side by side.
    const V* flattened(const Entries<V>& product) {
        if (product.ld == product.cols) return product.data;
        for (Index i = 0; i < product.rows; ++i)
            std::copy_n(&product.data[i * product.ld], product.cols,
                        flat_.data() + i * product.cols);
        return flat_.data();
    }
    /// Sets the errors of `count` runs, and returns the measurements of a chunk.
    const T* measure(const Chunk& chunk, int slot, const V* flat, int first, int count,
                     bool compare = true) {
        const T* const m = this->of_chunk(measurements, slot, chunk);
        const Vectors<const T> entries{reinterpret_cast<const T*>(flat) + first, lanes, count, 0};
        products(m, chunk.ld, n_features_, chunk.n_vectors(), entries, count, errors_.data());
        for (int r = 0; r < count; ++r)
            this->subtract_targets(slot + r, chunk, errors_.data() + r * sample_chunk, compare);
        return m;
    }
    static void write(V& to, int first, int count, const P* sums, const V& factors) {
        if constexpr (lanes == native_lanes<T>) {
            if (count == lanes) {
                to = sums_of_lanes(sums) * factors;
                return;
            }
        }
        for (int r = 0; r < count; ++r)
            set_lane(to, first + r, sum_of_lanes(sums[r]) * get_lane(factors, r));
    }

    Index n_features_;
    Arena<T> errors_;
    Arena<P> sums_;
    Arena<V> flat_;
};

/// Measurements by matrices a b^T of rank one, which are never formed: one run after the other,
/// the rows of its product together.
template <class V>
class RankOneSensingEngine final : public MeasuringEngine<V> {
public:
    using Base = MeasuringEngine<V>;
    using Base::lanes;
    using typename Base::Chunk;
    using typename Base::P;
    using typename Base::T;

    RankOneSensingEngine(const LossData& data, const Draws* draws, int n_slots)
        : Base(data, draws, n_slots,
               {{"targets", 1}, {"left", data.n_outputs}, {"right", data.n_inputs}}),
          n_rows_(data.n_outputs),
          n_cols_(data.n_inputs),
          rows_(n_rows_ * n_cols_),
          by_row_(n_rows_ * sample_chunk),
          errors_(sample_chunk),
          sums_(n_rows_ * n_cols_) {}

    void residual(int group, const Entries<V>& product, const Places<V>& to) override {
        add_up(group, product, to, true);
    }
    void curvature(int group, const Entries<V>& /*product*/, const Entries<V>& direction,
                   const Places<V>& to) override {
        add_up(group, direction, to, false);
    }

    V loss(int group, const Entries<V>& product) override {
        V result{};
        for_each_run(group, product, [&](int slot) {
            P total{};
            this->for_each_chunk(slot, [&](const Chunk& chunk) {
                measure(chunk, slot);
                total = this->add_squares(chunk, errors_.data(), total);
            });
            set_lane(result, slot % lanes, this->mean_of(slot, total));
        });
        return result;
    }

private:
    static constexpr std::size_t left = 1, right = 2;

    /// As of whole matrices.
    void add_up(int group, const Entries<V>& product, const Places<V>& to, bool compare) {
        for_each_run(group, product, [&](int slot) {
            std::fill_n(sums_.data(), n_rows_ * n_cols_, P{});
            this->for_each_chunk(slot, [&](const Chunk& chunk) {
                measure(chunk, slot, compare);
                const T* const a = this->of_chunk(left, slot, chunk);
                for (Index i = 0; i < n_rows_; ++i) {
                    for (Index b = 0; b < chunk.n_vectors() * native_lanes<T>; b += native_lanes<T>)
                        store(by_row_.data() + i * sample_chunk + b,
                              load<P>(a + i * chunk.ld + b) * load<P>(errors_.data() + b));
                }
                add_weighted(this->of_chunk(right, slot, chunk), chunk.ld, n_cols_,
                             chunk.n_vectors(), by_row_.data(), static_cast<int>(n_rows_),
                             sums_.data());
            });
            const T factor = this->factor(slot);
            for (Index i = 0; i < n_rows_; ++i) {
                for (Index j = 0; j < n_cols_; ++j)
                    set_lane(to(i, j), slot % lanes,
                             sum_of_lanes(sums_.data()[j * n_rows_ + i]) * factor);
            }
        });
    }
    /// do_it(slot) for the runs of a group, with the columns of its product side by side.
    template <class Do>
    void for_each_run(int group, const Entries<V>& product, const Do& do_it) {
        for (int r = 0; r < lanes; ++r) {
            if (this->run(group * lanes + r) < 0) continue;
            for (Index i = 0; i < n_rows_; ++i) {
                for (Index j = 0; j < n_cols_; ++j)
                    rows_.data()[j * n_rows_ + i] = get_lane(product(i, j), r);
            }
            do_it(group * lanes + r);
        }
    }
    /// Sets the errors of a chunk.
    void measure(const Chunk& chunk, int slot, bool compare = true) {
        const auto n_rows = static_cast<int>(n_rows_);
        const Vectors<const T> rows{rows_.data(), n_rows_, n_rows, 0};
        products(this->of_chunk(right, slot, chunk), chunk.ld, n_cols_, chunk.n_vectors(), rows,
                 n_rows, by_row_.data());
        const T* const a = this->of_chunk(left, slot, chunk);
        for (Index b = 0; b < chunk.n_vectors() * native_lanes<T>; b += native_lanes<T>) {
            P sum{};
            for (Index i = 0; i < n_rows_; ++i)
                sum = fma(load<P>(a + i * chunk.ld + b),
                          load<P>(by_row_.data() + i * sample_chunk + b), sum);
            store(errors_.data() + b, sum);
        }
        this->subtract_targets(slot, chunk, errors_.data(), compare);
    }

    Index n_rows_, n_cols_;
    Arena<T> rows_, by_row_, errors_;
    Arena<P> sums_;
};

/// Of whole matrices, or of rank one.
template <bool rank_one>
struct MeasuringLoss {
    static LossDeclaration declaration() {
        using Type = LossField::Type;
        using Axis = LossAxis;
        LossDeclaration loss;
        loss.name = rank_one ? "rank_one_sensing" : "sensing";
        loss.fields.push_back({"n_samples", Type::count});
        const auto add = [&](const char* name, const char* single, std::vector<Axis> axes) {
            axes.push_back(Axis::sample);
            loss.fields.push_back({name, Type::array, axes});
            loss.fields.push_back({single, Type::single_array, axes});
        };
        add("targets", "single_targets", {});
        if (rank_one) {
            add("left", "single_left", {Axis::output});
            add("right", "single_right", {Axis::input});
        } else {
            add("measurements", "single_measurements", {Axis::output, Axis::input});
        }
        loss.can_draw = true;
        loss.check = [](const LossData& data) { check_padding(data); };
        if (!rank_one) {
            // Fetches are most of it, and one serves all runs.
            loss.work_together = [](const LossData& data) {
                return data.array("measurements").shared() ? 0.4 : 1.0;
            };
        }
        return loss;
    }
    template <class V>
    static std::unique_ptr<LossEngine<V>> engine(const LossData& data, const Draws* draws,
                                                 int n_slots) {
        if constexpr (rank_one) {
            return std::make_unique<RankOneSensingEngine<V>>(data, draws, n_slots);
        } else {
            return std::make_unique<SensingEngine<V>>(data, draws, n_slots);
        }
    }
    static double work(const LossData& data, const Draws* draws) {
        const Index n = draws == nullptr ? *data.find<Index>("n_samples")
                                         : draws->most(*data.find<Index>("n_samples"));
        const auto n_out = static_cast<double>(data.n_outputs);
        const auto n_in = static_cast<double>(data.n_inputs);
        const double copied = rank_one ? n_out + n_in : n_out * n_in;
        return static_cast<double>(n) * (2 * n_out * n_in + (rank_one ? 3 * n_out : 0) + 10 +
                                         (draws == nullptr ? 0 : 8 * copied));
    }
};

using SensingLoss = MeasuringLoss<false>;
using RankOneSensingLoss = MeasuringLoss<true>;

}  // namespace linnet
