// Losses on samples, given or drawn for each step.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

#include "base/arena.hpp"
#include "linnet/loss.hpp"
#include "losses/engine.hpp"
#include "losses/packed_numbers.hpp"
#include "losses/readings.hpp"
#include "losses/sample_data.hpp"
#include "losses/sample_functions.hpp"
#include "losses/sample_kernels.hpp"
#include "losses/sampler.hpp"

namespace linnet {

/// The mean over samples of a function of the outputs of a network: of all samples, or of some that
/// are drawn for each step.
template <class V, class Function>
class SampleEngine final : public LossEngine<V> {
public:
    using T = ScalarOf<V>;
    using P = Pack<T, native_lanes<T>>;
    using LossEngine<V>::lanes;

    SampleEngine(const LossData& data, const Draws* draws, int n_slots)
        : LossEngine<V>(n_slots),
          data_(data),
          draws_(draws),
          n_features_(data_.n_features),
          n_outputs_(static_cast<int>(data_.n_outputs)),
          can_underflow_(!data_.has_noise() && data.find<Index>("n_soft") == nullptr),
          noise_(static_cast<std::size_t>(n_slots), T{0}),
          outputs_(n_outputs_ * lanes * sample_chunk),
          by_lane_(are_packed ? n_outputs_ * by_lane_samples : 0),
          sums_(n_features_ * n_outputs_ * lanes) {
        if (data_.is_of_law()) {
            sampler_.emplace(data_, *draws);
            fresh_ = Arena<T>(n_features_ * sample_chunk);
            if (data_.teacher.data != nullptr) {
                teacher_.emplace(data_.teacher, data_.n_outputs * n_features_, n_slots);
                apart_ = Arena<V>(data_.n_outputs * n_features_);
                fresh_targets_ = Arena<T>(data_.n_outputs * sample_chunk);
            }
        } else {
            readings_.emplace(data, draws, n_slots,
                              std::vector<typename Readings<T>::Array>{
                                  {"inputs", n_features_}, {"targets", data_.n_outputs}});
        }
    }

    void set_run(int slot, Index run, Index step) override {
        LossEngine<V>::set_run(slot, run, step);
        if (run < 0) return;
        if (readings_) readings_->set_run(slot, run);
        if (teacher_) teacher_->set_run(slot, run, data_.run_shape);
        noise_[static_cast<std::size_t>(slot)] = static_cast<T>(data_.noise(run));
    }

    void residual(int group, const Entries<V>& of, const Places<V>& to) override {
        const Entries<V> product = beyond_teacher(group, of);
        for_each_bunch(group, [&](int first, int count) {
            const Vectors<const T> w = vectors_of(product, first, count);
            const int n_vectors = n_outputs_ * count;
            T shifts[lanes] = {};
            const int slot = group * lanes + first;
            if constexpr (Function::has_margins) {
                if (this->is_scaled() && can_underflow_) find_shifts(slot, count, w, shifts);
            }
            T factors[lanes];
            find_factors(slot, count, shifts, factors);
            if constexpr (are_packed) {
                if (count == lanes && n_features_ >= by_lane_features &&
                    n_samples(slot) <= by_lane_samples) {
                    residual_by_lane(slot, product, shifts, factors, to);
                    return;
                }
            }
            bool fresh = true;  // every step sees a sample at least
            for_each_chunk(slot, [&](const Samples& samples) {
                products(samples.x, samples.chunk.ld, n_features_, samples.n_packs(), w, n_vectors,
                         outputs_.data());
                for (int r = 0; r < count; ++r) {
                    const auto s = static_cast<std::size_t>(slot + r);
                    const OutputChunk<T> chunk = outputs_of(samples, slot + r, r, count);
                    Function::weigh(chunk, noise_[s], shifts[r]);
                    fill_up(chunk, n_outputs_, samples.chunk.n, T{0});
                }
                add_weighted(samples.x, samples.chunk.ld, n_features_, samples.n_packs(),
                             outputs_.data(), n_vectors, sums_.data(), fresh);
                fresh = false;
            });
            write_sums(first, count, factors, to);
        });
    }

    void prepare_curvature() override { changes_ = Arena<T>(n_outputs_ * lanes * sample_chunk); }
    void curvature(int group, const Entries<V>& product, const Entries<V>& direction,
                   const Places<V>& to) override {
        for_each_bunch(group, [&](int first, int count) {
            const Vectors<const T> w = vectors_of(product, first, count);
            const Vectors<const T> along = vectors_of(direction, first, count);
            const int n_vectors = n_outputs_ * count;
            const int slot = group * lanes + first;
            bool fresh = true;
            for_each_chunk(slot, [&](const Samples& samples) {
                const auto multiply = [&](const Vectors<const T>& with, T* out) {
                    products(samples.x, samples.chunk.ld, n_features_, samples.n_packs(), with,
                             n_vectors, out);
                };
                multiply(w, outputs_.data());
                multiply(along, changes_.data());
                for (int r = 0; r < count; ++r) {
                    OutputChunk<T> chunk = outputs_of(samples, slot + r, r, count);
                    T* const change = changes_.data() + r * sample_chunk;
                    Function::bend(chunk, change, noise_[static_cast<std::size_t>(slot + r)]);
                    chunk.z = change;
                    fill_up(chunk, n_outputs_, samples.chunk.n, T{0});
                }
                add_weighted(samples.x, samples.chunk.ld, n_features_, samples.n_packs(),
                             changes_.data(), n_vectors, sums_.data(), fresh);
                fresh = false;
            });
            T factors[lanes];
            for (int r = 0; r < count; ++r)
                factors[r] = static_cast<T>(1 / static_cast<double>(n_samples(slot + r)));
            write_sums(first, count, factors, to);
        });
    }

    V loss(int group, const Entries<V>& of) override {
        const Entries<V> product = beyond_teacher(group, of);
        V result{};
        for_each_function(
            group, product, [](const auto& chunk, T noise) { Function::value(chunk, noise); }, T{0},
            [](P sum, P x) { return sum + x; },
            [&](int lane, P sum) {
                const Index n = n_samples(group * lanes + lane);
                set_lane(result, lane, sum_of_lanes(sum) / static_cast<T>(n));
            });
        return result;
    }

    V margin(int group, const Entries<V>& product) override {
        V result{};
        if constexpr (Function::has_margins) {
            const V norm = square_root(sum_of_squares(product));
            for_each_function(
                group, product, [](const auto& chunk, T /*noise*/) { Function::margin(chunk); },
                std::numeric_limits<T>::infinity(), [](P least, P x) { return smaller(least, x); },
                [&](int lane, P least) {
                    set_lane(result, lane, least_of_lanes(least) / get_lane(norm, lane));
                });
        }
        return result;
    }

    V accuracy(int group, const Entries<V>& product) override {
        V result{};
        if constexpr (Function::has_margins) {
            const auto n_rows = static_cast<T>(Function::rows(n_outputs_));
            for_each_function(
                group, product, [](const auto& chunk, T /*noise*/) { Function::margin(chunk); },
                T{0},
                [](P right, P x) { return right + select(less(P{}, x), broadcast<P>(1), P{}); },
                [&](int lane, P right) {
                    const auto n = static_cast<T>(n_samples(group * lanes + lane));
                    set_lane(result, lane, sum_of_lanes(right) / (n * n_rows));
                });
        }
        return result;
    }

private:
    static constexpr std::size_t inputs = 0, targets = 1;  // the arrays of the readings
    static constexpr bool are_packed = lanes > 1 && lanes == native_lanes<T>;
    /// Groups of runs in lanes are faster where few samples have many features: else what they save, sums
    /// across lanes, is little, and what they add, outputs that are turned and back, is much.
    static constexpr Index by_lane_features = 32, by_lane_samples = 64;
    using Chunk = typename Readings<T>::Chunk;

    /// How many samples a run sees in this step.
    Index n_samples(int slot) const {
        return readings_ ? readings_->n_samples(this->step(slot))
                         : draws_->at(this->step(slot)).size;
    }
    /// Some of the inputs of a slot.
    struct Samples {
        const T* x;
        Chunk chunk;
        Index n_packs() const { return chunk.n_vectors(); }
    };

    /// What the slopes of runs are multiplied by in the end.
    void find_factors(int slot, int count, const T* shifts, T* factors) const {
        for (int r = 0; r < count; ++r) {
            double scale = 1;
            if (this->is_scaled())
                scale = std::exp(this->log_scale(slot + r) - static_cast<double>(shifts[r]));
            factors[r] = static_cast<T>(scale / static_cast<double>(n_samples(slot + r)));
        }
    }
    /// The residual of a whole group of runs that see the same inputs.
    void residual_by_lane(int slot, const Entries<V>& product, const T* shifts, const T* factors,
                          const Places<V>& to) {
        V scale{};
        for (int r = 0; r < lanes; ++r) set_lane(scale, r, factors[r]);
        for_each_chunk(slot, [&](const Samples& samples) {  // they are one chunk
            const Index ld = samples.chunk.ld;
            const Index n_packs = samples.n_packs();
            for (int k = 0; k < n_outputs_; ++k)
                products_by_lane(samples.x, ld, n_features_, n_packs, product.data + k * product.ld,
                                 by_lane_.data() + k * by_lane_samples);
            turn(n_packs, [](V* by_lane, T* outputs) { turn_out(by_lane, outputs); });
            for (int r = 0; r < lanes; ++r) {
                const OutputChunk<T> chunk = outputs_of(samples, slot + r, r, lanes);
                Function::weigh(chunk, noise_[static_cast<std::size_t>(slot + r)], shifts[r]);
                fill_up(chunk, n_outputs_, samples.chunk.n, T{0});
            }
            turn(n_packs, [](V* by_lane, T* outputs) { turn_back(by_lane, outputs); });
            for (int k = 0; k < n_outputs_; ++k)
                sums_by_lane(samples.x, ld, n_features_, n_packs,
                             by_lane_.data() + k * by_lane_samples, scale, &to(k, 0));
        });
    }
    /// move(a run in each lane, of some samples; the same samples of the first run) for all outputs.
    template <class Move>
    void turn(Index n_packs, const Move& move) {
        for (int k = 0; k < n_outputs_; ++k) {
            for (Index b = 0; b < n_packs; ++b)
                move(by_lane_.data() + k * by_lane_samples + b * lanes,
                     outputs_.data() + k * lanes * sample_chunk + b * lanes);
        }
    }
    static void turn_out(const V* by_lane, T* outputs) {
        V rows[lanes];
        for (int r = 0; r < lanes; ++r) rows[r] = by_lane[r];
        transpose_square(rows);
        for (int r = 0; r < lanes; ++r) store(outputs + r * sample_chunk, rows[r]);
    }
    static void turn_back(V* by_lane, const T* outputs) {
        V rows[lanes];
        for (int r = 0; r < lanes; ++r) rows[r] = load<V>(outputs + r * sample_chunk);
        transpose_square(rows);
        for (int r = 0; r < lanes; ++r) by_lane[r] = rows[r];
    }

    /// What a product has beyond that of the teacher, whose targets are noise alone then.
    Entries<V> beyond_teacher(int group, const Entries<V>& product) {
        if (!teacher_) return product;
        const V* const teacher = teacher_->of(group);
        V* const to = apart_.data();
        for (Index i = 0; i < product.rows; ++i) {
            for (Index j = 0; j < product.cols; ++j) {
                const Index at = i * product.cols + j;
                to[at] = product(i, j) - teacher[at];
            }
        }
        return {to, product.cols, product.rows, product.cols};
    }
    /// The rows of the products of `count` lanes from `first` on.
    static Vectors<const T> vectors_of(const Entries<V>& product, int first, int count) {
        return {reinterpret_cast<const T*>(product.data) + first, lanes, count, product.ld * lanes};
    }
    /// The outputs of run number r of `count` runs, which is in a slot.
    OutputChunk<T> outputs_of(const Samples& samples, int slot, int r, int count) const {
        return {outputs_.data() + r * sample_chunk,
                count * sample_chunk,
                readings_ ? readings_->of_chunk(targets, slot, samples.chunk)
                          : fresh_targets_.data(),
                samples.chunk.ld,
                n_outputs_,
                samples.n_packs()};
    }
    /// Fill what is behind the last sample, in rows 0 ... n_rows - 1.
    static void fill_up(const OutputChunk<T>& chunk, int n_rows, Index count, T x) {
        for (int k = 0; k < n_rows; ++k) {
            T* const row = chunk.z + k * chunk.z_ld;
            std::fill(row + count, row + chunk.n_packs * native_lanes<T>, x);
        }
    }
    /// Fold the rows of a function of every run of a group by `fold`, from `neutral` on, and
    /// take(lane, packs of folded ones).
    template <class F, class Fold, class Take>
    void for_each_function(int group, const Entries<V>& product, const F& function, T neutral,
                           const Fold& fold, const Take& take) {
        for_each_bunch(group, [&](int first, int count) {
            const Vectors<const T> w = vectors_of(product, first, count);
            P folded[lanes];
            fold_rows(group * lanes + first, count, w, function, neutral, fold, folded);
            for (int r = 0; r < count; ++r) take(first + r, folded[r]);
        });
    }
    template <class F, class Fold>
    void fold_rows(int slot, int count, const Vectors<const T>& w, const F& function, T neutral,
                   const Fold& fold, P* folded) {
        for (int r = 0; r < count; ++r) folded[r] = broadcast<P>(neutral);
        for_each_chunk(slot, [&](const Samples& samples) {
            products(samples.x, samples.chunk.ld, n_features_, samples.n_packs(), w,
                     n_outputs_ * count, outputs_.data());
            for (int r = 0; r < count; ++r) {
                const auto s = static_cast<std::size_t>(slot + r);
                const OutputChunk<T> chunk = outputs_of(samples, slot + r, r, count);
                function(chunk, noise_[s]);
                const int n_rows = Function::rows(n_outputs_);
                fill_up(chunk, n_rows, samples.chunk.n, neutral);
                for (int k = 0; k < n_rows; ++k) {
                    for (Index b = 0; b < chunk.n_packs; ++b)
                        folded[r] = fold(folded[r], chunk.get(k, b));
                }
            }
        });
    }
    /// do_them(first lane, how many) for the runs of a group: those that see the same inputs
    /// together.
    template <class Do>
    void for_each_bunch(int group, const Do& do_them) {
        const auto has_run = [this](int slot) { return this->run(slot) >= 0; };
        if (readings_) {
            readings_->template for_each_bunch<lanes>(group * lanes, inputs, has_run, do_them);
            return;
        }
        for (int r = 0; r < lanes; ++r) {
            if (has_run(group * lanes + r)) do_them(r, 1);
        }
    }
    /// visit(samples) for the samples of a slot, chunk by chunk.
    template <class Visit>
    void for_each_chunk(int slot, const Visit& visit) {
        const Index run = this->run(slot);
        const Index step = this->step(slot);
        if (readings_) {
            readings_->for_each_chunk(slot, run, step, [&](const Chunk& chunk) {
                if (draws_ != nullptr && draws_->noise_std.data != nullptr)
                    add_noise(draws_->noise_std, run, step, chunk, readings_->chosen(targets));
                visit(Samples{readings_->of_chunk(inputs, slot, chunk), chunk});
            });
            return;
        }
        const Index n = n_samples(slot);
        for (Index first = 0; first < n; first += sample_chunk) {
            const Chunk chunk{first, std::min(sample_chunk, n - first), sample_chunk};
            sampler_->draw(run, step, first, chunk.n_vectors() * native_lanes<T>, fresh_.data(),
                           sample_chunk);
            if (teacher_) {
                std::fill_n(fresh_targets_.data(), n_outputs_ * sample_chunk, T{0});
                add_noise(data_.noise_std, run, step, chunk, fresh_targets_.data());
            }
            visit(Samples{fresh_.data(), chunk});
        }
    }
    /// Normal noise on targets: sample i of a step has the Philox blocks i n, ..., i n + n - 1, a pair
    /// of targets each.
    void add_noise(const RunArray<double>& of_runs, Index run, Index step, const Chunk& chunk,
                   T* to) const {
        using Draw = Pack<double, philox_lanes>;
        const PhiloxKey key = key_of(*draws_, data_.run_shape, run, step, Purpose::noise);
        const Draw std = broadcast<Draw>(*of_runs.at(run, data_.run_shape));
        const auto n_pairs = static_cast<std::uint32_t>((n_outputs_ + 1) / 2);
        const auto add = [](Draw x, T* at) {
            for (int r = 0; r < philox_lanes; ++r)
                at[r] = static_cast<T>(static_cast<double>(at[r]) + x[r]);
        };
        for (Index i = 0; i < chunk.n_vectors() * native_lanes<T>; i += philox_lanes) {
            auto block = static_cast<std::uint32_t>(chunk.first + i) * n_pairs;
            for (Index k = 0; k < n_outputs_; k += 2, ++block) {
                Draw cosine;
                Draw sine;
                const Draw length = std * normal_pair(key, block, n_pairs, cosine, sine);
                add(length * cosine, to + k * chunk.ld + i);
                if (k + 1 < n_outputs_) add(length * sine, to + (k + 1) * chunk.ld + i);
            }
        }
    }
    /// to <- minus the sums of the lanes of sums_, times the factors of their runs.
    void write_sums(int first, int count, const T* factors, const Places<V>& to) {
        const int n_vectors = n_outputs_ * count;
        if constexpr (lanes == native_lanes<T>) {
            if (count == lanes) {
                V of_lanes{};
                for (int r = 0; r < lanes; ++r) set_lane(of_lanes, r, factors[r]);
                for (int k = 0; k < n_outputs_; ++k) {
                    for (Index j = 0; j < n_features_; ++j)
                        to(k, j) =
                            -(sums_of_lanes(sums_.data() + j * n_vectors + k * count) * of_lanes);
                }
                return;
            }
        }
        const Vectors<T> out{reinterpret_cast<T*>(to.data) + first, lanes, count, to.ld * lanes};
        const auto put = [&](int v, Index j, T sum) {
            out.at(v)[j * out.stride] = -(sum * factors[v % count]);
        };
        // As many sums at once as there are lanes.
        P some[native_lanes<T>] = {};
        for (int v = 0; v < n_vectors; ++v) {
            for (Index j = 0; j < n_features_; j += native_lanes<T>) {
                const auto n = static_cast<int>(std::min<Index>(native_lanes<T>, n_features_ - j));
                for (int i = 0; i < n; ++i) some[i] = sums_.data()[(j + i) * n_vectors + v];
                const P sums = sums_of_lanes(some);
                for (int i = 0; i < n; ++i) put(v, j + i, get_lane(sums, i));
            }
        }
    }
    /// Margins beyond which e^-shift is taken out of the residual, so that it does not underflow.
    void find_shifts(int slot, int count, const Vectors<const T>& w, T* shifts) {
        P least[lanes];
        fold_rows(
            slot, count, w, [](const auto& chunk, T /*noise*/) { Function::margin(chunk); },
            std::numeric_limits<T>::infinity(), [](P a, P b) { return smaller(a, b); }, least);
        for (int r = 0; r < count; ++r) {
            shifts[r] = least_of_lanes(least[r]);
            if (!std::isfinite(shifts[r]) || shifts[r] < static_cast<T>(Function::shift_from))
                shifts[r] = 0;
        }
    }
    static T least_of_lanes(P x) {
        T least = get_lane(x, 0);
        for (int k = 1; k < native_lanes<T>; ++k) least = std::min(least, get_lane(x, k));
        return least;
    }

    SampleData data_;
    const Draws* draws_;
    Index n_features_;
    int n_outputs_;
    bool can_underflow_;                   // residuals may have one small factor in common
    std::optional<Readings<T>> readings_;  // of samples that are given
    std::optional<Sampler<T>> sampler_;    // of a law
    std::vector<T> noise_;                 // per slot
    Arena<T> outputs_;
    Arena<V> by_lane_;  // the same of a group, a run in each lane
    Arena<T> changes_;  // of outputs, where curvatures are asked for
    Arena<P> sums_;
    Arena<T> fresh_;
    std::optional<PackedNumbers<V>> teacher_;  // of a law with one
    Arena<V> apart_;
    Arena<T> fresh_targets_;
};

/// A mean over samples, of a function of the outputs.
template <class Function>
struct SampleLoss {
    static LossDeclaration declaration() {
        LossDeclaration loss = SampleData::declaration(Function::name);
        loss.has_margins = Function::has_margins;
        loss.fields.push_back(label_noise_field());
        loss.fields.push_back({"n_soft", LossField::Type::count, {}, true});
        return loss;
    }
    template <class V>
    static std::unique_ptr<LossEngine<V>> engine(const LossData& data, const Draws* draws,
                                                 int n_slots) {
        return std::make_unique<SampleEngine<V, Function>>(data, draws, n_slots);
    }
    static double work(const LossData& data, const Draws* draws) {
        if (draws != nullptr) return work_of_draws(data, *draws);
        const auto each = static_cast<double>(data.n_outputs * (2 * data.n_inputs + 30));
        return static_cast<double>(SampleData(data).n_samples) * each;
    }
};

using LogisticLoss = SampleLoss<Logistic>;
using ExponentialLoss = SampleLoss<Exponential>;
using SquaredSampleLoss = SampleLoss<Squares>;
using CrossEntropyLoss = SampleLoss<Softmax>;

}  // namespace linnet
