// Products with factors that are given by their entries: V is a pack of runs or one plain number,
// with the same bits.
#pragma once

#include <vector>

#include "base/arena.hpp"
#include "engines/lane_algebra.hpp"

namespace linnet {

/// How a matrix is laid out: vector v of a side starts at v * step, its entries are `stride` apart.
struct Sides {
    Index step, stride;
};

/// One operation with a pattern, with the layouts of a machine worked into its places.
template <class T>
class PatternCall {
public:
    PatternCall(const Plan& plan, const Operation& operation, Index ld_c, Index ld_a, Index ld_b)
        : kind_(operation.kind),
          n_vectors_(std::min(plan.n_inputs(), plan.n_outputs())) {
        const Gather& gather = plan.gathers[static_cast<std::size_t>(operation.gather)];
        n_targets_ = gather.n_targets;
        const bool columns = plan.vectors_are_columns;
        const auto sides = [&](Index ld) { return columns ? Sides{1, ld} : Sides{ld, 1}; };
        a_ = sides(ld_a);
        b_ = sides(ld_b);
        c_ = sides(ld_c);
        const bool by_weight = kind_ != Product::pattern;
        const auto place = [](Index vector, Index step) {
            return static_cast<std::int32_t>(vector * step);
        };
        start_ = gather.start;
        for (const std::int32_t v : gather.from) from_.push_back(place(v, a_.step));
        for (const std::int32_t v : gather.other)
            other_.push_back(by_weight ? place(v, b_.step) : v);
        for (const double x : gather.coefficient) coefficient_.push_back(static_cast<T>(x));
        find_structure(gather);
        fixed_start_ = gather.fixed_start;
        for (const std::int32_t v : gather.fixed_from) fixed_from_.push_back(place(v, a_.step));
        for (const double x : gather.fixed) fixed_.push_back(static_cast<T>(x));
    }

    /// Does it go one of the faster ways?
    bool is_diagonal() const { return is_diagonal_; }
    bool is_stencil() const { return reach_ > 0; }

    /// Run it. c, a: matrices of packs; b: weights of a product, or the other side of a gradient.
    template <class V>
    void operator()(V* c, const V* a, const V* b, const V* step, const V* decay) const {
        if (is_diagonal_) return diagonal(c, a, b, step, decay);
        if (is_stencil()) return stencil(c, a, b, step, decay);
        const bool single = n_vectors_ == 1;
        const bool unit = coefficient_.empty();
        if (kind_ == Product::pattern) {
            if (!fixed_.empty()) {
                product<V, false, true>(c, a, b);
            } else if (unit) {
                product<V, true, false>(c, a, b);
            } else {
                product<V, false, false>(c, a, b);
            }
        } else if (single && unit) {
            gradient<V, true, true>(c, a, b, step, decay);
        } else if (single) {
            gradient<V, true, false>(c, a, b, step, decay);
        } else {
            gradient<V, false, false>(c, a, b, step, decay);
        }
    }

private:
    /// Diagonal and circular patterns have faster ways.
    void find_structure(const Gather& gather) {
        const bool plain = gather.coefficient.empty() && gather.fixed_from.empty();
        const auto n = static_cast<std::size_t>(n_targets_);
        if (!plain || n == 0 || gather.from.size() % n != 0) return;
        for (std::size_t t = 0; t < n; ++t) {
            if (gather.start[t + 1] - gather.start[t] !=
                static_cast<std::int32_t>(gather.from.size() / n))
                return;
        }
        if (gather.from.size() == n) {
            is_diagonal_ = true;
            for (std::size_t t = 0; t < n; ++t) {
                const auto number = static_cast<std::int32_t>(t);
                is_diagonal_ =
                    is_diagonal_ && gather.from[t] == number && gather.other[t] == number;
            }
            if (is_diagonal_) return;
        }
        if (kind_ == Product::pattern) {
            find_stencil(gather, static_cast<Index>(n), static_cast<Index>(gather.from.size() / n));
        } else {
            find_correlation(gather, static_cast<Index>(gather.from.size() / n),
                             static_cast<Index>(n));
        }
    }
    /// Does target t take vector (t + shift * w) mod `extent` for every weight w?
    void find_stencil(const Gather& gather, Index extent, Index n_taps) {
        Index shift = 0;
        for (std::size_t e = 0; e < static_cast<std::size_t>(n_taps); ++e) {
            if (gather.other[e] == 1) shift = gather.from[e];
        }
        if (n_taps < 2 || shift == 0) return;
        std::vector<char> seen(static_cast<std::size_t>(n_taps));
        for (Index t = 0; t < extent; ++t) {
            std::fill(seen.begin(), seen.end(), 0);
            for (Index e = t * n_taps; e < (t + 1) * n_taps; ++e) {
                const auto k = static_cast<std::size_t>(e);
                const Index weight = gather.other[k];
                if (weight >= n_taps || seen[static_cast<std::size_t>(weight)] != 0 ||
                    gather.from[k] != (t + shift * weight) % extent)
                    return;
                seen[static_cast<std::size_t>(weight)] = 1;
            }
        }
        set_stencil(extent, n_taps, shift);
    }
    /// Does weight w join row vector r and column vector (r + shift * w) mod `extent`, for every r?
    void find_correlation(const Gather& gather, Index extent, Index n_taps) {
        Index shift = 0;
        if (n_taps < 2) return;
        for (Index e = extent; e < 2 * extent; ++e) {
            const auto k = static_cast<std::size_t>(e);
            if (gather.from[k] == 0) shift = gather.other[k];
        }
        if (shift == 0) return;
        for (Index w = 0; w < n_taps; ++w) {
            for (Index r = 0; r < extent; ++r) {
                const auto k = static_cast<std::size_t>(w * extent + r);
                if (gather.from[k] != r || gather.other[k] != (r + shift * w) % extent) return;
            }
        }
        set_stencil(extent, n_taps, shift);
    }
    void set_stencil(Index extent, Index n_taps, Index shift) {
        // A step forwards by nearly the whole extent is a step backwards.
        backwards_ = 2 * shift > extent;
        shift_ = backwards_ ? extent - shift : shift;
        extent_ = extent;
        n_taps_ = n_taps;
        reach_ = extent + shift_ * (n_taps - 1);
        scratch_ = Arena<Pack<T, native_lanes<T>>>(reach_);
    }

    template <class V>
    void diagonal(V* __restrict c, const V* __restrict a, const V* __restrict b, const V* step,
                  const V* decay) const {
        const Index n = n_targets_;
        if (n_vectors_ > 1 || a_.step != 1) return diagonal_by_vectors(c, a, b, step, decay);
        if (kind_ == Product::pattern) {
#pragma GCC unroll 4
            for (Index t = 0; t < n; ++t) c[t] = fma(a[t], b[t], V{});
        } else if (kind_ == Product::pattern_gradient) {
#pragma GCC unroll 4
            for (Index t = 0; t < n; ++t) c[t] = fma(a[t], b[t], V{});
        } else if (decay == nullptr) {
            const V rate = *step;
#pragma GCC unroll 4
            for (Index t = 0; t < n; ++t)
                c[t] = descend<V>(c[t], fma(a[t], b[t], V{}), rate, nullptr);
        } else {
            const V rate = *step;
            const V shrink = *decay;
#pragma GCC unroll 4
            for (Index t = 0; t < n; ++t) c[t] = descend(c[t], fma(a[t], b[t], V{}), rate, &shrink);
        }
    }
    template <class V>
    void diagonal_by_vectors(V* c, const V* a, const V* b, const V* step, const V* decay) const {
        for (Index t = 0; t < n_targets_; ++t) {
            V total{};
            for (Index v = 0; v < n_vectors_; ++v) {
                const V x = a[t * a_.step + v * a_.stride];
                if (kind_ == Product::pattern) {
                    c[t * c_.step + v * c_.stride] = fma(x, b[t], V{});
                } else {
                    total = fma(x, b[t * b_.step + v * b_.stride], total);
                }
            }
            if (kind_ == Product::pattern_gradient) c[t] = total;
            if (kind_ == Product::pattern_update) c[t] = descend(c[t], total, *step, decay);
        }
    }

    /// The vectors of a stencil's source with a copy of as many as it needs beyond an end, so that
    /// it walks on without looking for that end; returns where its walk for target 0 and weight 0
    /// begins.
    template <class V>
    const V* extended(const V* from, Index step, V* to) const {
        const Index extra = reach_ - extent_;
        const auto copy = [&](Index first, Index count) {
            if (step == 1) {
                to = std::copy_n(from + first, count, to);
            } else {
                for (Index i = 0; i < count; ++i) *to++ = from[(first + i) * step];
            }
        };
        V* const begin = to;
        if (backwards_) {
            const Index part = extra % extent_;
            copy(extent_ - part, part);
            for (Index whole = 0; whole <= extra / extent_; ++whole) copy(0, extent_);
            return begin + extra;
        }
        for (Index left = reach_; left > 0; left -= std::min(left, extent_))
            copy(0, std::min(left, extent_));
        return begin;
    }
    template <class V>
    void stencil(V* c, const V* a, const V* b, const V* step, const V* decay) const {
        V* const memory = reinterpret_cast<V*>(scratch_.data());
        const Index shift = backwards_ ? -shift_ : shift_;
        if (kind_ == Product::pattern) {
            for (Index v = 0; v < n_vectors_; ++v) {
                const V* const x = extended(a + v * a_.stride, a_.step, memory);
                V* const y = c + v * c_.stride;
                Index i = 0;
                for (; i + 8 <= extent_; i += 8) {
                    V total[8] = {};
                    const V* from = x + i;
                    for (Index w = 0; w < n_taps_; ++w, from += shift) {
                        const V weight = b[w];
#pragma GCC unroll 8
                        for (int q = 0; q < 8; ++q) total[q] = fma(from[q], weight, total[q]);
                    }
#pragma GCC unroll 8
                    for (int q = 0; q < 8; ++q) y[(i + q) * c_.step] = total[q];
                }
                for (; i < extent_; ++i) {
                    V total{};
                    for (Index w = 0; w < n_taps_; ++w) total = fma(x[i + w * shift], b[w], total);
                    y[i * c_.step] = total;
                }
            }
            return;
        }
        // Weight w: the sum of a[r] b[r + shift w], over all vectors.
        for (Index first = 0; first < n_taps_; first += 8) {
            V total[8] = {};
            const Index count = std::min<Index>(8, n_taps_ - first);
            for (Index v = 0; v < n_vectors_; ++v) {
                const V* const x = extended(b + v * b_.stride, b_.step, memory) + first * shift;
                const V* row = a + v * a_.stride;
                if (count == 8) {
                    for (Index r = 0; r < extent_; ++r, row += a_.step) {
#pragma GCC unroll 8
                        for (int q = 0; q < 8; ++q)
                            total[q] = fma(*row, x[r + q * shift], total[q]);
                    }
                    continue;
                }
                for (Index q = 0; q < count; ++q) {
                    const V* const from = x + q * shift;
                    const V* const rows = a + v * a_.stride;
                    // Sums that need not wait for each other.
                    V part[4] = {};
                    Index r = 0;
                    for (; r + 4 <= extent_; r += 4) {
#pragma GCC unroll 4
                        for (int p = 0; p < 4; ++p)
                            part[p] = fma(rows[(r + p) * a_.step], from[r + p], part[p]);
                    }
                    for (; r < extent_; ++r) part[0] = fma(rows[r * a_.step], from[r], part[0]);
                    total[q] = total[q] + ((part[0] + part[1]) + (part[2] + part[3]));
                }
            }
            for (Index q = 0; q < count; ++q) {
                V& out = c[first + q];
                out = kind_ == Product::pattern_update ? descend(out, total[q], *step, decay)
                                                       : total[q];
            }
        }
    }

    template <class V, bool unit, bool has_fixed>
    void product(V* c, const V* a, const V* weights) const {
        for (Index t = 0; t < n_targets_; ++t) {
            const auto at = static_cast<std::size_t>(t);
            const Index first = start_[at];
            const Index last = start_[at + 1];
            for (Index v = 0; v < n_vectors_; ++v) {
                const V* const x = a + v * a_.stride;
                V total{};
                if constexpr (has_fixed) {
                    for (Index e = fixed_start_[at]; e < fixed_start_[at + 1]; ++e) {
                        const auto k = static_cast<std::size_t>(e);
                        total = fma(x[fixed_from_[k]], broadcast<V>(fixed_[k]), total);
                    }
                }
                for (Index e = first; e < last; ++e) {
                    const auto k = static_cast<std::size_t>(e);
                    V weight = weights[other_[k]];
                    if constexpr (!unit) {
                        if (!coefficient_.empty()) weight = weight * broadcast<V>(coefficient_[k]);
                    }
                    total = fma(x[from_[k]], weight, total);
                }
                c[t * c_.step + v * c_.stride] = total;
            }
        }
    }

    template <class V, bool single, bool unit>
    void gradient(V* c, const V* a, const V* b, const V* step, const V* decay) const {
        for (Index t = 0; t < n_targets_; ++t) {
            const auto at = static_cast<std::size_t>(t);
            const Index first = start_[at];
            const Index last = start_[at + 1];
            // Sums that need not wait for each other.
            V totals[4] = {};
            const auto add = [&](Index e, V& total) __attribute__((always_inline)) {
                const auto k = static_cast<std::size_t>(e);
                const V* const x = a + from_[k];
                const V* const y = b + other_[k];
                V term{};
                if constexpr (single) {
                    if constexpr (unit) {
                        total = fma(*x, *y, total);
                        return;
                    }
                    term = *x * *y;
                } else {
                    for (Index v = 0; v < n_vectors_; ++v)
                        term = fma(x[v * a_.stride], y[v * b_.stride], term);
                }
                const T scale = coefficient_.empty() ? T{1} : coefficient_[k];
                total = fma(term, broadcast<V>(scale), total);
            };
            Index e = first;
            for (; e + 4 <= last; e += 4) {
                for (int q = 0; q < 4; ++q) add(e + q, totals[q]);
            }
            for (; e < last; ++e) add(e, totals[0]);
            const V total =
                last - first < 4 ? totals[0] : (totals[0] + totals[1]) + (totals[2] + totals[3]);
            c[t] = kind_ == Product::pattern_update ? descend(c[t], total, *step, decay) : total;
        }
    }

    Product kind_;
    Index n_vectors_, n_targets_ = 0;
    Sides a_{}, b_{}, c_{};
    std::vector<std::int32_t> start_, from_, other_, fixed_start_, fixed_from_;
    std::vector<T> coefficient_, fixed_;
    bool is_diagonal_ = false, backwards_ = false;
    Index extent_ = 0, n_taps_ = 0, shift_ = 0;  ///< of a circular pattern
    Index reach_ = 0;                            ///< how far it walks; 0: it is none
    Arena<Pack<T, native_lanes<T>>> scratch_;    ///< a machine is used by one thread
};

}  // namespace linnet
