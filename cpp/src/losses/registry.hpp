// Losses of one output that are not made of second moments: on samples, or under a spherically symmetric law.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>

#include "base/arena.hpp"
#include "linnet/loss.hpp"
#include "losses/radial_functions.hpp"
#include "losses/sample_kernels.hpp"
#include "losses/sampler.hpp"

namespace linnet {

/// What a machine asks of such a loss. A run is a slot, `lanes` of them are a group and share packs V; a product has one
/// row.
template <class V>
class LossEngine {
public:
    static constexpr int lanes = PackTraits<V>::lanes;

    explicit LossEngine(int n_slots)
        : runs_(static_cast<std::size_t>(n_slots), -1),
          steps_(static_cast<std::size_t>(n_slots), 0),
          log_scales_(static_cast<std::size_t>(n_slots), 0.0) {}
    virtual ~LossEngine() = default;
    LossEngine(const LossEngine&) = delete;
    LossEngine& operator=(const LossEngine&) = delete;

    /// to <- dloss / dproduct, of every run of a group.
    virtual void residual(int group, const V* product, V* to) = 0;
    virtual V loss(int group, const V* product) = 0;
    /// The least of the margins over the norm of the product.
    virtual V margin(int /*group*/, const V* /*product*/) { return V{}; }
    virtual void set_run(int slot, Index run, Index step) {
        runs_[static_cast<std::size_t>(slot)] = run;
        steps_[static_cast<std::size_t>(slot)] = step;
    }
    /// A step has been taken: the next one has other samples.
    void advance() {
        for (Index& step : steps_) ++step;
    }
    /// From now on residuals are e^log_scale times what they are, without what lies in between.
    void set_log_scale(int slot, double log_scale) {
        is_scaled_ = true;
        log_scales_[static_cast<std::size_t>(slot)] = log_scale;
    }

protected:
    Index run(int slot) const { return runs_[static_cast<std::size_t>(slot)]; }
    Index step(int slot) const { return steps_[static_cast<std::size_t>(slot)]; }
    double log_scale(int slot) const { return log_scales_[static_cast<std::size_t>(slot)]; }
    bool is_scaled() const { return is_scaled_; }

private:
    std::vector<Index> runs_, steps_;
    std::vector<double> log_scales_;
    bool is_scaled_ = false;
};

/// The mean of a function of the margins y x . w of samples: all of them, or some that are drawn for each step.
template <class V, bool exponential>
class SampleEngine final : public LossEngine<V> {
public:
    using T = ScalarOf<V>;
    using P = Pack<T, native_lanes<T>>;
    using LossEngine<V>::lanes;

    SampleEngine(const LossData& data, const Draws* draws, Index n_features, int n_slots)
        : LossEngine<V>(n_slots),
          data_(data),
          draws_(draws),
          n_features_(n_features),
          chunk_(std::clamp<Index>(16384 / n_features / 64 * 64, 64, sample_chunk)),
          n_samples_(draws == nullptr ? data.n_samples : draws->batch_size),
          sampler_(data, draws, n_features),
          inputs_(static_cast<std::size_t>(n_slots), nullptr),
          noise_(static_cast<std::size_t>(n_slots), T{0}),
          factors_(lanes * sample_chunk),
          sums_(n_features * lanes),
          drawn_(draws == nullptr ? 0 : n_features * sample_chunk) {}

    void set_run(int slot, Index run, Index step) override {
        LossEngine<V>::set_run(slot, run, step);
        if (run < 0) return;
        const auto s = static_cast<std::size_t>(slot);
        if (data_.kind != LossKind::spherical) inputs_[s] = data_.inputs_of<T>(run);
        noise_[s] = static_cast<T>(data_.noise(run));
    }

    void residual(int group, const V* product, V* to) override {
        for_each_bunch(group, [&](int first, int count) {
            const RunVectors<const T> w{reinterpret_cast<const T*>(product) + first, lanes};
            const RunVectors<T> out{reinterpret_cast<T*>(to) + first, lanes};
            T shifts[lanes] = {};
            const int slot = group * lanes + first;
            if (this->is_scaled() && !data_.has_noise) find_shifts(slot, count, w, shifts);
            std::fill_n(sums_.data(), n_features_ * count, P{});
            for_each_chunk(slot, [&](const T* z, Index ld, Index n) {
                const Index n_vectors = vectors(n);
                margins(z, ld, n_features_, n_vectors, w, count, factors_.data());
                for (int r = 0; r < count; ++r) {
                    T* const m = factors_.data() + r * sample_chunk;
                    weigh(m, n_vectors, noise_[static_cast<std::size_t>(slot + r)], shifts[r]);
                    std::fill(m + n, m + n_vectors * native_lanes<T>, T{0});
                }
                add_weighted(z, ld, n_features_, n_vectors, factors_.data(), count, sums_.data());
            });
            V factors{};
            for (int r = 0; r < count; ++r) {
                double scale = 1;
                if (this->is_scaled())
                    scale = std::exp(this->log_scale(slot + r) - static_cast<double>(shifts[r]));
                set_lane(factors, r, static_cast<T>(scale / static_cast<double>(n_samples_)));
            }
            if constexpr (lanes == native_lanes<T>) {
                if (count == lanes) {
                    for (Index j = 0; j < n_features_; ++j)
                        to[j] = -(sums_of_lanes(sums_.data() + j * count) * factors);
                    return;
                }
            }
            for (int r = 0; r < count; ++r) {
                for (Index j = 0; j < n_features_; ++j)
                    out(j, r) = -(sum_of_lanes(sums_.data()[j * count + r]) * get_lane(factors, r));
            }
        });
    }

    V loss(int group, const V* product) override {
        V result{};
        for_each_bunch(group, [&](int first, int count) {
            const RunVectors<const T> w{reinterpret_cast<const T*>(product) + first, lanes};
            const int slot = group * lanes + first;
            P totals[lanes] = {};
            for_each_chunk(slot, [&](const T* z, Index ld, Index n) {
                const Index n_vectors = vectors(n);
                margins(z, ld, n_features_, n_vectors, w, count, factors_.data());
                for (int r = 0; r < count; ++r) {
                    T* const m = factors_.data() + r * sample_chunk;
                    const T noise = noise_[static_cast<std::size_t>(slot + r)];
                    for (Index b = 0; b < n_vectors; ++b) {
                        T* const at = m + b * native_lanes<T>;
                        store(at, value(load<P>(at), noise));
                    }
                    std::fill(m + n, m + n_vectors * native_lanes<T>, T{0});
                    for (Index b = 0; b < n_vectors; ++b)
                        totals[r] = totals[r] + load<P>(m + b * native_lanes<T>);
                }
            });
            for (int r = 0; r < count; ++r) {
                set_lane(result, first + r,
                          sum_of_lanes(totals[r]) / static_cast<T>(n_samples_));
            }
        });
        return result;
    }

    V margin(int group, const V* product) override {
        V result{};
        for_each_bunch(group, [&](int first, int count) {
            const RunVectors<const T> w{reinterpret_cast<const T*>(product) + first, lanes};
            T least[lanes];
            find_least(group * lanes + first, count, w, least);
            for (int r = 0; r < count; ++r) {
                T square{};
                for (Index j = 0; j < n_features_; ++j) square = fma(w(j, r), w(j, r), square);
                set_lane(result, first + r, least[r] / static_cast<T>(std::sqrt(square)));
            }
        });
        return result;
    }

private:
    static Index vectors(Index n) { return (n + native_lanes<T> - 1) / native_lanes<T>; }

    /// do_them(first lane, how many) for the runs of a group: those that see the same samples together.
    template <class Do>
    void for_each_bunch(int group, const Do& do_them) {
        const auto input = [&](int lane) {
            return inputs_[static_cast<std::size_t>(group * lanes + lane)];
        };
        const T* common = nullptr;
        bool together = draws_ == nullptr;
        for (int r = 0; r < lanes; ++r) {
            if (this->run(group * lanes + r) < 0) continue;
            together = together && (common == nullptr || common == input(r));
            common = input(r);
        }
        if (together && common != nullptr) {
            for (int r = 0; r < lanes; ++r)
                inputs_[static_cast<std::size_t>(group * lanes + r)] = common;
            do_them(0, lanes);
            return;
        }
        for (int r = 0; r < lanes; ++r) {
            if (this->run(group * lanes + r) >= 0) do_them(r, 1);
        }
    }
    /// visit(samples, leading dimension, how many) for the samples of a slot, chunk by chunk.
    template <class Visit>
    void for_each_chunk(int slot, const Visit& visit) {
        for (Index first = 0; first < n_samples_; first += chunk_) {
            const Index n = std::min(chunk_, n_samples_ - first);
            const T* const all = inputs_[static_cast<std::size_t>(slot)];
            if (draws_ == nullptr) {
                visit(all + first, data_.stride, n);
            } else {
                sampler_.draw(this->run(slot), this->step(slot), first, vectors(n) * native_lanes<T>,
                              all, drawn_.data(), sample_chunk);
                visit(static_cast<const T*>(drawn_.data()), sample_chunk, n);
            }
        }
    }
    void find_least(int slot, int count, const RunVectors<const T>& w, T* least) {
        std::fill_n(least, count, std::numeric_limits<T>::infinity());
        for_each_chunk(slot, [&](const T* z, Index ld, Index n) {
            margins(z, ld, n_features_, vectors(n), w, count, factors_.data());
            for (int r = 0; r < count; ++r) {
                T* const m = factors_.data() + r * sample_chunk;
                std::fill(m + n, m + vectors(n) * native_lanes<T>,
                          std::numeric_limits<T>::infinity());
                P smallest = load<P>(m);
                for (Index b = 1; b < vectors(n); ++b)
                    smallest = smaller(smallest, load<P>(m + b * native_lanes<T>));
                for (int k = 0; k < native_lanes<T>; ++k)
                    least[r] = std::min(least[r], smallest[k]);
            }
        });
    }
    /// Margins beyond which e^-shift is taken out of the residual, so that it does not underflow.
    void find_shifts(int slot, int count, const RunVectors<const T>& w, T* shifts) {
        constexpr T exact_from = 40;  // here a logistic loss is an exponential one to the last bit
        find_least(slot, count, w, shifts);
        for (int r = 0; r < count; ++r) {
            if (!std::isfinite(shifts[r]) || (!exponential && shifts[r] < exact_from))
                shifts[r] = 0;
        }
    }
    /// Margins -> minus the slope of the loss.
    static void weigh(T* m, Index n_vectors, T noise, T shift) {
        const P own_noise = broadcast<P>(noise);
        const P own_shift = broadcast<P>(shift);
        for (Index b = 0; b < n_vectors; ++b) {
            T* const at = m + b * native_lanes<T>;
            const P x = load<P>(at);
            P weight;
            if constexpr (exponential) {
                weight = exponential_loss(x - own_shift);
                if (noise != 0) {
                    const P kept = noise < 1 ? broadcast<P>(T{1} - noise) * weight : P{};
                    weight = kept - own_noise * exponential_loss(-x);
                }
            } else if (shift != 0) {
                weight = exponential_loss(x - own_shift);
            } else {
                weight = falling_logistic(x) - own_noise;
            }
            store(at, weight);
        }
    }
    /// The loss of margins: with probability `noise` a label is the other one.
    static P value(P x, T noise) {
        if constexpr (exponential) {
            const P own = exponential_loss(x);
            if (noise == 0) return own;
            const P kept = noise < 1 ? broadcast<P>(T{1} - noise) * own : P{};  // not 0 * infinity
            return kept + broadcast<P>(noise) * exponential_loss(-x);
        } else if (noise > T{0.5}) {
            return fma(broadcast<P>(noise - T{1}), x, logistic_loss(-x));
        } else {
            return fma(broadcast<P>(noise), x, logistic_loss(x));
        }
    }

    const LossData& data_;
    const Draws* draws_;
    Index n_features_, chunk_, n_samples_;
    Sampler<T> sampler_;
    std::vector<const T*> inputs_;  // per slot
    std::vector<T> noise_;
    Arena<T> factors_;
    Arena<P> sums_;
    Arena<T> drawn_;
};

/// The mean logistic loss over a spherically symmetric law with labels sgn(v . x), in closed form but for two functions
/// of the norm.
template <class V>
class SphericalEngine final : public LossEngine<V> {
public:
    using T = ScalarOf<V>;
    using LossEngine<V>::lanes;

    SphericalEngine(const LossData& data, Index n_features, int n_slots)
        : LossEngine<V>(n_slots),
          data_(data),
          radial_(data.law),
          n_features_(n_features),
          directions_(n_features * (n_slots / lanes)),
          kept_(n_slots / lanes) {}

    void set_run(int slot, Index run, Index step) override {
        LossEngine<V>::set_run(slot, run, step);
        if (run < 0) return;
        V* const v = directions_.data() + slot / lanes * n_features_;
        const double* const from = data_.direction.at(run, data_.run_shape);
        for (Index j = 0; j < n_features_; ++j)
            set_lane(v[j], slot % lanes, static_cast<T>(from[j]));
        set_lane(kept_.data()[slot / lanes], slot % lanes,
                  static_cast<T>(1 - 2 * data_.noise(run)));
    }

    void residual(int group, const V* product, V* to) override {
        const V* const v = directions_.data() + group * n_features_;
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

    V loss(int group, const V* product) override {
        const V* const v = directions_.data() + group * n_features_;
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
    const LossData& data_;
    RadialFunctions radial_;
    Index n_features_;
    Arena<V> directions_, kept_;
};

/// The engine of a loss; null: it is made of second moments. draws: samples are drawn anew for every step.
template <class V>
std::unique_ptr<LossEngine<V>> make_loss_engine(const LossData& data, const Draws* draws,
                                                Index n_features, int n_slots) {
    if (data.kind == LossKind::squared) return nullptr;
    if (data.kind == LossKind::exponential)
        return std::make_unique<SampleEngine<V, true>>(data, draws, n_features, n_slots);
    if (data.kind == LossKind::spherical && draws == nullptr)
        return std::make_unique<SphericalEngine<V>>(data, n_features, n_slots);
    return std::make_unique<SampleEngine<V, false>>(data, draws, n_features, n_slots);
}

}  // namespace linnet
