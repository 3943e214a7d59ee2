// Losses on samples, given or drawn for each step.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "base/arena.hpp"
#include "base/vector_math.hpp"
#include "linnet/loss.hpp"
#include "losses/engine.hpp"
#include "losses/sample_data.hpp"
#include "losses/sample_kernels.hpp"
#include "losses/sampler.hpp"

namespace linnet {

/// The mean of a function of the margins y x . w of samples, with the one row w of a product: all
/// of them, or some that are drawn for each step.
template <class V, bool exponential>
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
          chunk_(std::clamp<Index>(16384 / n_features_ / 64 * 64, 64, sample_chunk)),
          n_samples_(draws == nullptr ? data_.n_samples : draws->batch_size),
          sampler_(data_, draws),
          inputs_(static_cast<std::size_t>(n_slots), nullptr),
          noise_(static_cast<std::size_t>(n_slots), T{0}),
          factors_(lanes * sample_chunk),
          sums_(n_features_ * lanes),
          drawn_(draws == nullptr ? 0 : n_features_ * sample_chunk) {}

    void set_run(int slot, Index run, Index step) override {
        LossEngine<V>::set_run(slot, run, step);
        if (run < 0) return;
        const auto s = static_cast<std::size_t>(slot);
        if (!data_.is_of_law()) inputs_[s] = data_.inputs_of<T>(run);
        noise_[s] = static_cast<T>(data_.noise(run));
    }

    void residual(int group, const Entries<V>& product, const Places<V>& to) override {
        for_each_bunch(group, [&](int first, int count) {
            const RunVectors<const T> w{reinterpret_cast<const T*>(product.data) + first, lanes};
            const RunVectors<T> out{reinterpret_cast<T*>(to.data) + first, lanes};
            T shifts[lanes] = {};
            const int slot = group * lanes + first;
            if (this->is_scaled() && !data_.has_noise()) find_shifts(slot, count, w, shifts);
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
                        to(0, j) = -(sums_of_lanes(sums_.data() + j * count) * factors);
                    return;
                }
            }
            for (int r = 0; r < count; ++r) {
                for (Index j = 0; j < n_features_; ++j)
                    out(j, r) = -(sum_of_lanes(sums_.data()[j * count + r]) * get_lane(factors, r));
            }
        });
    }

    V loss(int group, const Entries<V>& product, const Entries<V>& /*residual*/) override {
        V result{};
        for_each_bunch(group, [&](int first, int count) {
            const RunVectors<const T> w{reinterpret_cast<const T*>(product.data) + first, lanes};
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
                set_lane(result, first + r, sum_of_lanes(totals[r]) / static_cast<T>(n_samples_));
            }
        });
        return result;
    }

    V margin(int group, const Entries<V>& product) override {
        V result{};
        for_each_bunch(group, [&](int first, int count) {
            const RunVectors<const T> w{reinterpret_cast<const T*>(product.data) + first, lanes};
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

    /// do_them(first lane, how many) for the runs of a group: those that see the same samples
    /// together.
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
                sampler_.draw(this->run(slot), this->step(slot), first,
                              vectors(n) * native_lanes<T>, all, drawn_.data(), sample_chunk);
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

    SampleData data_;
    const Draws* draws_;
    Index n_features_, chunk_, n_samples_;
    Sampler<T> sampler_;
    std::vector<const T*> inputs_;  // per slot
    std::vector<T> noise_;
    Arena<T> factors_;
    Arena<P> sums_;
    Arena<T> drawn_;
};

/// A mean over samples, of the logistic or the exponential loss of their margins.
template <bool exponential>
struct SampleLoss {
    static LossDeclaration declaration() {
        using Type = LossField::Type;
        const std::vector<LossAxis> axes{LossAxis::input, LossAxis::sample};
        LossDeclaration loss =
            SampleData::declaration(exponential ? "exponential" : "logistic",
                                    {{"n_samples", Type::count},
                                     {"inputs", Type::array, axes},
                                     {"single_inputs", Type::single_array, axes}});
        loss.has_margins = true;
        loss.check = [](const LossData& data) {
            const SampleData samples(data);
            if (samples.stride % 16 != 0 || samples.stride < samples.n_samples)
                throw std::invalid_argument("inputs must be padded to a multiple of 16 samples");
        };
        return loss;
    }
    template <class V>
    static std::unique_ptr<LossEngine<V>> engine(const LossData& data, const Draws* draws,
                                                 int n_slots) {
        return std::make_unique<SampleEngine<V, exponential>>(data, draws, n_slots);
    }
    static double work(const LossData& data, const Draws* draws) {
        if (draws != nullptr) return work_of_draws(data, *draws);
        return static_cast<double>(SampleData(data).n_samples) *
               (2 * static_cast<double>(data.n_inputs) + 30);
    }
};

using LogisticLoss = SampleLoss<false>;
using ExponentialLoss = SampleLoss<true>;

}  // namespace linnet
