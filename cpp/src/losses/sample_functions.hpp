// Functions of the outputs z of a network for samples: what losses are means of.
//
// Each is a struct whose functions go through the samples of a chunk for one run, pack by pack, and
// leave their results in its rows of outputs:
//
//     weigh(chunk, noise, shift)   minus the slope by each output, times e^shift; shift: of the
//                                  least margin, not 0 only where a slope would underflow
//     bend(chunk, change, noise)   in `change`, laid out as the outputs: minus the change of the
//                                  slopes where the outputs change by what is there
//     value(chunk, noise)          the loss
//     margin(chunk)                how far it is on the right side; of one that has_margins
//
// in `rows(n_outputs)` rows, all of them of weigh().
#pragma once

#include <limits>

#include "base/vector_math.hpp"
#include "losses/sample_kernels.hpp"

namespace linnet {

/// Outputs of one run for some samples, output k of sample i at z[k * z_ld + i], and what they are to
/// be.
template <class T>
struct OutputChunk {
    using P = Pack<T, native_lanes<T>>;

    T* z;
    Index z_ld;
    const T* targets;  ///< null: all are 1
    Index targets_ld;
    int n_outputs;
    Index n_packs;

    P get(int k, Index b) const { return load<P>(z + k * z_ld + b * native_lanes<T>); }
    void put(int k, Index b, P x) const { store(z + k * z_ld + b * native_lanes<T>, x); }
    P target(int k, Index b) const {
        return targets == nullptr ? broadcast<P>(1)
                                  : load<P>(targets + k * targets_ld + b * native_lanes<T>);
    }
    /// Where what belongs to an output of a pack of samples is in an array laid out as they are.
    Index at(int k, Index b) const { return k * z_ld + b * native_lanes<T>; }
    /// put(k, b, f(output, target)) for all outputs of all samples.
    template <class F>
    void for_each_output(const F& f) const {
        for (int k = 0; k < n_outputs; ++k) {
            for (Index b = 0; b < n_packs; ++b) put(k, b, f(get(k, b), target(k, b)));
        }
    }
};

/// Labels y = 1 or -1, and the margin m = y z of every output.
template <class Own>
struct OfMargins {
    static constexpr bool has_margins = true;
    static constexpr int rows(int n_outputs) { return n_outputs; }

    template <class T>
    static void weigh(const OutputChunk<T>& chunk, T noise, T shift) {
        chunk.for_each_output(
            [&](auto z, auto y) { return y * Own::falling(y * z, noise, shift); });
    }
    template <class T>
    static void value(const OutputChunk<T>& chunk, T noise) {
        chunk.for_each_output([&](auto z, auto y) { return Own::of_margin(y * z, noise); });
    }
    template <class T>
    static void bend(const OutputChunk<T>& chunk, T* change, T noise) {
        using P = typename OutputChunk<T>::P;
        for (int k = 0; k < chunk.n_outputs; ++k) {
            for (Index b = 0; b < chunk.n_packs; ++b) {
                T* const at = change + chunk.at(k, b);
                const P y = chunk.target(k, b);
                store(at, -(y * y * Own::curved(y * chunk.get(k, b), noise) * load<P>(at)));
            }
        }
    }
    template <class T>
    static void margin(const OutputChunk<T>& chunk) {
        chunk.for_each_output([](auto z, auto y) { return y * z; });
    }
};

/// log(1 + e^-m); with probability `noise` a label is the other one.
struct Logistic : OfMargins<Logistic> {
    static constexpr const char* name = "logistic";
    /// From here on it is an exponential loss to the last bit.
    static constexpr double shift_from = 40;

    template <class P, class T>
    static P falling(P m, T noise, T shift) {
        if (shift != 0) return exponential_loss(m - broadcast<P>(shift));
        return falling_logistic(m) - broadcast<P>(noise);
    }
    template <class P, class T>
    static P curved(P m, T /*noise*/) {
        return falling_logistic(m) * falling_logistic(-m);
    }
    template <class P, class T>
    static P of_margin(P m, T noise) {
        if (noise > T{0.5}) return fma(broadcast<P>(noise - T{1}), m, logistic_loss(-m));
        return fma(broadcast<P>(noise), m, logistic_loss(m));
    }
};

/// e^-m, likewise.
struct Exponential : OfMargins<Exponential> {
    static constexpr const char* name = "exponential";
    static constexpr double shift_from = -std::numeric_limits<double>::infinity();

    template <class P, class T>
    static P falling(P m, T noise, T shift) {
        const P kept = kept_part(exponential_loss(m - broadcast<P>(shift)), noise);
        return noise == 0 ? kept : kept - broadcast<P>(noise) * exponential_loss(-m);
    }
    template <class P, class T>
    static P curved(P m, T noise) {
        return of_margin(m, noise);
    }
    template <class P, class T>
    static P of_margin(P m, T noise) {
        const P kept = kept_part(exponential_loss(m), noise);
        return noise == 0 ? kept : kept + broadcast<P>(noise) * exponential_loss(-m);
    }

private:
    template <class P, class T>
    static P kept_part(P value, T noise) {
        if (noise == 0) return value;
        return noise < 1 ? broadcast<P>(T{1} - noise) * value : P{};  // not 0 * infinity
    }
};

/// 1/2 (z - y)^2, summed over outputs.
struct Squares {
    static constexpr const char* name = "squared_samples";
    static constexpr bool has_margins = false;
    static constexpr int rows(int n_outputs) { return n_outputs; }

    template <class T>
    static void weigh(const OutputChunk<T>& chunk, T /*noise*/, T /*shift*/) {
        chunk.for_each_output([](auto z, auto y) { return y - z; });
    }
    template <class T>
    static void bend(const OutputChunk<T>& chunk, T* change, T /*noise*/) {
        using P = typename OutputChunk<T>::P;
        for (int k = 0; k < chunk.n_outputs; ++k) {
            for (Index b = 0; b < chunk.n_packs; ++b) {
                T* const at = change + chunk.at(k, b);
                store(at, -load<P>(at));
            }
        }
    }
    template <class T>
    static void value(const OutputChunk<T>& chunk, T /*noise*/) {
        chunk.for_each_output([](auto z, auto y) {
            using P = decltype(z);
            return broadcast<P>(0.5F) * ((y - z) * (y - z));
        });
    }
};

/// log sum_k e^z_k - sum_k q_k z_k, of probabilities q of classes, which add up to 1.
struct Softmax {
    static constexpr const char* name = "cross_entropy";
    static constexpr bool has_margins = true;
    static constexpr int rows(int /*n_outputs*/) { return 1; }
    /// From here on the sum of all e^(z_k - z_y) is 1 to the last bit.
    static constexpr double shift_from = 40;

    /// The slope p_k - q_k; where q_k is 1 it is minus the sum of the other p, so that nothing cancels.
    template <class T>
    static void weigh(const OutputChunk<T>& chunk, T /*noise*/, T shift) {
        using P = typename OutputChunk<T>::P;
        const P one = broadcast<P>(1);
        for (Index b = 0; b < chunk.n_packs; ++b) {
            const P top = shift == 0 ? largest(chunk, b) : of_label(chunk, b) - broadcast<P>(shift);
            P sum{};
            P others{};
            for (int k = 0; k < chunk.n_outputs; ++k) {
                const P e = exponential(chunk.get(k, b) - top);
                chunk.put(k, b, e);
                sum = sum + e;
                others = others + select(less(chunk.target(k, b), one), e, P{});
            }
            const P inverse = shift == 0 ? one / sum : one;
            others = others * inverse;
            for (int k = 0; k < chunk.n_outputs; ++k) {
                const P q = chunk.target(k, b);
                chunk.put(k, b, select(less(q, one), fma(-chunk.get(k, b), inverse, q), others));
            }
        }
    }
    /// The slopes p change by p_k (dz_k - sum_j p_j dz_j).
    template <class T>
    static void bend(const OutputChunk<T>& chunk, T* change, T /*noise*/) {
        using P = typename OutputChunk<T>::P;
        for (Index b = 0; b < chunk.n_packs; ++b) {
            const P top = largest(chunk, b);
            P sum{};
            P mean{};
            for (int k = 0; k < chunk.n_outputs; ++k) {
                const P e = exponential(chunk.get(k, b) - top);
                chunk.put(k, b, e);
                sum = sum + e;
                mean = fma(e, load<P>(change + chunk.at(k, b)), mean);
            }
            const P inverse = broadcast<P>(1) / sum;
            mean = mean * inverse;
            for (int k = 0; k < chunk.n_outputs; ++k) {
                T* const at = change + chunk.at(k, b);
                store(at, chunk.get(k, b) * inverse * (mean - load<P>(at)));
            }
        }
    }
    /// sum_k q_k (top - z_k) + log(1 + the sum of all e^(z_k - top) but one that is 1).
    template <class T>
    static void value(const OutputChunk<T>& chunk, T /*noise*/) {
        using P = typename OutputChunk<T>::P;
        const P one = broadcast<P>(1);
        for (Index b = 0; b < chunk.n_packs; ++b) {
            const P top = largest(chunk, b);
            P rest{};
            P n_tops{};
            P below{};
            for (int k = 0; k < chunk.n_outputs; ++k) {
                const P short_of = top - chunk.get(k, b);
                const P e = exponential(-short_of);
                const auto is_less = less(e, one);
                rest = rest + select(is_less, e, P{});
                n_tops = n_tops + select(is_less, P{}, one);
                below = fma(chunk.target(k, b), short_of, below);
            }
            chunk.put(0, b, below + log1p(rest + (n_tops - one)));
        }
    }
    /// z_y - max of the other z, y being the most likely class, the first one if there are several.
    template <class T>
    static void margin(const OutputChunk<T>& chunk) {
        using P = typename OutputChunk<T>::P;
        for (Index b = 0; b < chunk.n_packs; ++b) {
            P most = chunk.target(0, b);
            P own = chunk.get(0, b);
            P other = broadcast<P>(-std::numeric_limits<T>::infinity());
            for (int k = 1; k < chunk.n_outputs; ++k) {
                const P q = chunk.target(k, b);
                const P z = chunk.get(k, b);
                const auto is_more = less(most, q);
                other = larger(other, select(is_more, own, z));
                own = select(is_more, z, own);
                most = select(is_more, q, most);
            }
            chunk.put(0, b, own - other);
        }
    }

private:
    template <class T>
    static auto largest(const OutputChunk<T>& chunk, Index b) {
        auto top = chunk.get(0, b);
        for (int k = 1; k < chunk.n_outputs; ++k) top = larger(top, chunk.get(k, b));
        return top;
    }
    /// The output of the class whose probability is 1.
    template <class T>
    static auto of_label(const OutputChunk<T>& chunk, Index b) {
        using P = typename OutputChunk<T>::P;
        P own{};
        for (int k = 0; k < chunk.n_outputs; ++k)
            own = select(less(chunk.target(k, b), broadcast<P>(1)), own, chunk.get(k, b));
        return own;
    }
    template <class P>
    static P log1p(P x) {  // of x >= 0
        const P one = broadcast<P>(1);
        return select(less(one, x), logarithm(one + x), log1p_unit(smaller(x, one)));
    }
};

}  // namespace linnet
