// The largest, and least, eigenvalues of symmetric operators on weights, by Lanczos' method: in blocks
// with full orthogonalisation, of a single eigenvalue by single vectors with a periodic one, and with
// thick restarts where many are needed.
//
// A lane's result depends on nothing but that lane's operator: starts are fixed random vectors, what
// is decided is decided by lane, and lanes that are done wait for the others.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "algebra/symmetric_eigenvalues.hpp"
#include "base/arena.hpp"
#include "base/philox.hpp"
#include "base/simd.hpp"
#include "linnet/index.hpp"
#include "observables/singular_values.hpp"

namespace linnet {

template <class V>
class Lanczos {
public:
    static constexpr int lanes = PackTraits<V>::lanes;

    /// Of an operator on so many numbers: n_wanted of the largest eigenvalues, and as many of the
    /// least ones if `both`.
    Lanczos(Index size, Index n_wanted, bool both)
        : size_(size),
          // Powers of two would put all vectors into few cache sets.
          stride_((size + 8) | 1),
          n_wanted_(n_wanted),
          both_(both),
          block_(std::min(n_wanted, size_)),
          // By the size alone, whatever the lanes are.
          most_(std::min(size_, std::clamp<Index>((Index{1} << 24) / size_, 40, 160) + 4 * block_)),
          basis_((most_ + block_) * stride_),
          coefficients_((most_ + block_) * most_),
          dots_(most_ + block_ + 8),
          spare_(size_),
          small_(2 * most_ * most_ + (block_ + 3) * most_),
          turned_(most_ * most_),
          edges_(block_ * most_),
          combined_(most_),
          starts_(static_cast<std::size_t>(block_ * size_)) {
        for (Index b = 0; b < block_; ++b) draw(b, starts_.data() + b * size_);
        fresh_.resize(static_cast<std::size_t>(size_));
        order_.resize(static_cast<std::size_t>(most_));
    }

    /// Number of values that are found.
    Index count() const { return (both_ ? 2 : 1) * n_wanted_; }

    /// to[0 ... n_wanted - 1] <- the largest eigenvalues, descending; then, of both, the least ones,
    /// ascending. apply(from, to) multiplies by the operator; false if asked to stop. is_there[lane]:
    /// is it to be found at all?
    template <class Apply>
    bool find(const Apply& apply, const bool (&is_there)[lanes], V* to) {
        for (int lane = 0; lane < lanes; ++lane) done_[lane] = !is_there[lane];
        for (Index i = 0; i < count(); ++i)
            to[i] = broadcast<V>(std::numeric_limits<double>::quiet_NaN());
        largest_ = V{};
        n_fresh_ = 0;
        n_vectors_ = 0;
        n_kept_ = 0;
        for (; n_vectors_ < block_; ++n_vectors_, ++n_fresh_) add_fresh(V{});
        Index done = 0;  // vectors that the operator was applied to
        Index next_check = first_check();
        for (Index n_products = 0;; ++n_products) {
            if (!apply(vector(done), spare_.data())) return false;
            add(done);
            ++done;
            const bool is_full = done == most_;
            if (!is_full && done < next_check) continue;
            next_check = check_after(done);
            const bool is_last = done == size_ || n_products >= most_products;
            if (check(done, is_last, to)) return true;
            if (is_full) {
                done = restart();
                next_check = check_after(done + block_);
            }
        }
    }

private:
    static constexpr double tolerance = 1e-9;  // of an eigenvalue, relative; bounds are generous
    static constexpr Index most_products = 6000;

    V* vector(Index k) const { return basis_.data() + k * stride_; }
    Index column() const { return most_ + block_; }
    V& coefficient(Index i, Index j) const { return coefficients_.data()[j * column() + i]; }
    /// A single vector's checks cost as much as some products.
    Index first_check() const { return std::min(most_, block_ == 1 ? 12 : 2 * block_ + 6); }
    Index check_after(Index done) const {
        return done + std::max(block_, block_ == 1 ? std::max<Index>(3, done / 6) : done / 3);
    }

    /// The fixed numbers of fresh vector number n, in (-1, 1).
    void draw(Index n, double* to) const {
        PhiloxKey key;
        key.seed = 0x6c696e6e65740001U;
        key.step = static_cast<std::uint64_t>(n);
        for (Index i = 0; i < size_; i += philox_lanes) {
            PhiloxWords words[4];
            key.stream = static_cast<std::uint32_t>(static_cast<std::uint64_t>(i) >> 32);
            philox(key, static_cast<std::uint32_t>(i), 1, words);
            const Pack<double, philox_lanes> u = philox_uniform(words[0], words[1]);
            for (int r = 0; r < philox_lanes && i + r < size_; ++r) to[i + r] = 2 * u[r] - 1;
        }
    }
    /// spare_ <- the fresh vector of this place, whether lanes have needed others before or not.
    void put_fresh() {
        const double* from = starts_.data() + n_fresh_ * size_;
        if (n_fresh_ >= block_) {
            draw(n_fresh_, fresh_.data());
            from = fresh_.data();
        }
        for (Index i = 0; i < size_; ++i) spare_.data()[i] = broadcast<V>(from[i]);
    }
    V norm_of(const V* x) const {
        V sums[4] = {};
        Index i = 0;
        for (; i + 4 <= size_; i += 4) {
            for (int k = 0; k < 4; ++k) sums[k] = fma(x[i + k], x[i + k], sums[k]);
        }
        for (; i < size_; ++i) sums[0] = fma(x[i], x[i], sums[0]);
        return square_root((sums[0] + sums[1]) + (sums[2] + sums[3]));
    }
    /// dots_ <- what x has along the vectors that are there, from some on.
    void measure(const V* x, Index first) {
        Index k = first;
        V* const dots = dots_.data();
        for (; k + 8 <= n_vectors_; k += 8)
            detail::row_sums<V, 8>(vector(k), stride_, x, size_, dots + k);
        for (; k + 4 <= n_vectors_; k += 4)
            detail::row_sums<V, 4>(vector(k), stride_, x, size_, dots + k);
        for (; k < n_vectors_; ++k) detail::row_sums<V, 1>(vector(k), stride_, x, size_, dots + k);
    }
    /// Takes it away.
    void subtract(V* x, Index first) const {
        const V* const dots = dots_.data();
        Index k = first;
        for (; k + 4 <= n_vectors_; k += 4) {
            const V* const q = vector(k);
            for (Index i = 0; i < size_; ++i) {
                V sum = x[i];
                for (Index r = 0; r < 4; ++r) sum = fma(-dots[k + r], q[r * stride_ + i], sum);
                x[i] = sum;
            }
        }
        for (; k < n_vectors_; ++k) {
            const V* const q = vector(k);
            for (Index i = 0; i < size_; ++i) x[i] = fma(-dots[k], q[i], x[i]);
        }
    }
    /// A fresh vector behind those that are there, in the lanes that do not go on.
    void add_fresh(V goes_on) {
        put_fresh();
        V* const x = spare_.data();
        for (int pass = 0; pass < 2; ++pass) {
            measure(x, 0);
            subtract(x, 0);
        }
        V* const to = vector(n_vectors_);
        const V inverse = broadcast<V>(1) / norm_of(x);
        const auto stays = less(V{}, goes_on);
        for (Index i = 0; i < size_; ++i) to[i] = select(stays, to[i], x[i] * inverse);
    }
    /// Takes from spare_, in the lanes whose norm is less than `below`, what it has along the vectors
    /// from some on, and adds that to the coefficients of `of`. Returns the norm that is left.
    V take_away(Index of, Index first, V norm, V below) {
        V* const x = spare_.data();
        const auto is_meant = less(norm, below);
        measure(x, first);
        for (Index i = first; i < n_vectors_; ++i) {
            V& dot = dots_.data()[i];
            dot = select(is_meant, dot, V{});
            coefficient(i, of) = coefficient(i, of) + dot;
        }
        subtract(x, first);
        return select(is_meant, norm_of(x), norm);
    }
    /// spare_ is the operator times vector `of`: its coefficients, and what is left as a vector.
    void add(Index of) {
        V* const x = spare_.data();
        const V before = norm_of(x);
        largest_ = larger(largest_, before);
        std::fill_n(&coefficient(0, of), column(), V{});
        // First along the vectors that a product reaches. The others then hold next to nothing of x:
        // to compare with all of them at once, each time, would multiply what is not orthogonal by
        // before / norm at each vector, until no digit was right.
        const V infinite = broadcast<V>(std::numeric_limits<double>::infinity());
        const bool reaches_all = n_kept_ > 0 && of < n_kept_ + block_;
        // From 0 on, whatever the norm is: what is not finite is to be seen in the coefficients.
        V norm = take_away(of, reaches_all ? 0 : std::max<Index>(0, of - block_), V{}, infinite);
        if (n_vectors_ >= size_) return;
        // Then along all. Single vectors multiply what is not orthogonal by no more than about the
        // operator / norm a step, so that two of four can do without while they are far from all
        // there are, but where little is left.
        const bool is_brief = block_ == 1 && !both_ && n_kept_ == 0 && 4 * of < size_ && of % 4 < 2;
        V more = is_brief ? broadcast<V>(0.03) * largest_ : infinite;
        for (int pass = 0; pass < 3 && any(less(norm, more)); ++pass) {
            const V left = norm;
            norm = take_away(of, 0, norm, more);
            // Once more where that took much of it, and rounding may be a part of the rest.
            more = broadcast<V>(0.5) * left;
        }
        V* const to = vector(n_vectors_);
        const auto is_something = less(broadcast<V>(1e-13) * largest_, norm);
        const V inverse = broadcast<V>(1) / select(is_something, norm, broadcast<V>(1));
        for (Index i = 0; i < size_; ++i) to[i] = x[i] * inverse;
        coefficient(n_vectors_, of) = select(is_something, norm, V{});
        // What has come to an end goes on with a fresh vector.
        bool has_ended = false;
        const V goes_on = select(is_something, broadcast<V>(1), V{});
        for (int lane = 0; lane < lanes; ++lane)
            has_ended = has_ended || (!done_[lane] && get_lane(goes_on, lane) == 0 &&
                                      std::isfinite(get_lane(norm, lane)));
        if (has_ended) add_fresh(goes_on);
        ++n_vectors_;
        ++n_fresh_;
    }

    /// Look at the lanes that are not done after `done` products; true if all are now.
    bool check(Index done, bool is_last, V* to) {
        if (block_ == 1 && !both_ && n_kept_ == 0) return check_top(done, is_last, to);
        bool all = true;
        for (int lane = 0; lane < lanes; ++lane) {
            if (done_[lane]) continue;
            done_[lane] = check_lane(lane, done, is_last, to);
            all = all && done_[lane];
        }
        return all;
    }
    /// How many eigenvalues of the tridiagonal matrices lie above x, up to two.
    V count_above(Index done, V x) const {
        const V zero{};
        const V one = broadcast<V>(1);
        const V tiny = broadcast<V>(1e-300);
        V count = zero;
        V pivot = one;
        for (Index j = 0; j < done; ++j) {
            const V off = j > 0 ? coefficient(j - 1, j) : zero;
            pivot = x - coefficient(j, j) - off * off / pivot;
            pivot = select(less(absolute(pivot), tiny), tiny, pivot);
            count = count + select(less(pivot, zero), one, zero);
        }
        return count;
    }
    /// Of x above all roots of the characteristic polynomial: sums over them of 1 / (x - root) and
    /// its square. Returns the derivative of the last pivot: where that is 0 the last entry of the
    /// eigenvector of norm 1 is its inverse root.
    V pivot_sums(Index done, V x, V& sum, V& squares) const {
        const V one = broadcast<V>(1);
        const V two = broadcast<V>(2);
        const V tiny = broadcast<V>(1e-300);
        V inverse = one;  // of the last pivot
        V slope{};
        V bend{};
        for (Index j = 0; j < done; ++j) {
            const V off = j > 0 ? coefficient(j - 1, j) : V{};
            const V ratio = off * inverse;
            const V pivot = larger(x - coefficient(j, j) - off * ratio, tiny);
            const V square = ratio * ratio;
            bend = square * (bend - two * slope * slope * inverse);
            slope = fma(square, slope, one);
            inverse = one / pivot;
            const V part = slope * inverse;
            sum = sum + part;
            squares = squares + part * part - bend * inverse;
        }
        return slope;
    }
    /// The same for the largest eigenvalue by single vectors, all lanes at once.
    bool check_top(Index done, bool is_last, V* to) {
        const V half = broadcast<V>(0.5);
        const V one = broadcast<V>(1);
        V low = coefficient(0, 0);
        V high = low;
        V least = low;
        for (Index j = 0; j < done; ++j) {
            V radius = j > 0 ? absolute(coefficient(j - 1, j)) : V{};
            if (j + 1 < done) radius = radius + absolute(coefficient(j, j + 1));
            low = larger(low, coefficient(j, j));
            high = larger(high, coefficient(j, j) + radius);
            least = smaller(least, coefficient(j, j) - radius);
        }
        const V scale = larger(absolute(high), absolute(least));
        // Laguerre's method comes down to the largest root, fast from anywhere above it.
        const V degree = broadcast<V>(static_cast<double>(done));
        V slope{};
        for (int pass = 0; pass < 60; ++pass) {
            V sum{};  // of 1 / (high - root)
            V squares{};
            slope = pivot_sums(done, high, sum, squares);
            const V inside = (degree - one) * (degree * squares - sum * sum);
            const V root = square_root(larger(inside, V{}));
            const V step = degree / (sum + root);
            const V next = larger(high - step, low);
            const auto moves = less(broadcast<V>(1e-15) * scale, high - next);
            high = select(moves, next, high);
            if (!any(moves)) break;
        }
        V low_2 = least;  // of the second largest, of which little is to be known
        V high_2 = high;
        for (int pass = 0; pass < 10; ++pass) {
            const V middle = fma(half, high_2 - low_2, low_2);
            const auto is_above = less(one, count_above(done, middle));
            low_2 = select(is_above, middle, low_2);
            high_2 = select(is_above, high_2, middle);
        }
        const V next = done < n_vectors_ ? coefficient(done, done - 1) : V{};
        const V left = absolute(next) / square_root(slope);
        const V gap = larger(high - high_2, V{});
        const V error =
            select(less(left, gap), left * (left / select(less(V{}, gap), gap, one)), left);
        const V allowed =
            larger(broadcast<V>(tolerance) * absolute(high), broadcast<V>(1e-14) * scale);
        const V found = select(less_equal(error, allowed), one, V{});
        bool all = true;
        for (int lane = 0; lane < lanes; ++lane) {
            if (done_[lane]) continue;
            const bool is_number = std::isfinite(get_lane(largest_, lane));
            done_[lane] = is_last || !is_number || get_lane(found, lane) != 0;
            if (done_[lane] && is_number) set_lane(*to, lane, get_lane(high, lane));
            all = all && done_[lane];
        }
        return all;
    }
    double* matrix() const { return small_.data(); }
    double* values() const { return small_.data() + 2 * most_ * most_; }
    double* off() const { return values() + most_; }
    double* residuals() const { return off() + most_; }
    double* sums() const { return residuals() + block_ * most_; }
    double* turns() const { return small_.data() + most_ * most_; }

    /// Eigenvalues of the operator on the vectors so far, and `rows` turned into their vectors.
    bool decompose(int lane, Index done, double* rows, Index n_rows, Index ld) {
        double* const a = matrix();
        // Of single vectors the rest is rounding.
        const Index reach = block_ == 1 && n_kept_ == 0 ? 1 : done;
        for (Index i = 0; i < done; ++i) {
            for (Index j = i; j < done; ++j)
                a[i * done + j] = a[j * done + i] =
                    j - i <= reach ? get_lane(coefficient(i, j), lane) : 0;
        }
        if (!symmetric_eigenvalues(a, done, values(), off(), rows, n_rows, ld, sums()))
            return false;
        for (Index i = 0; i < done; ++i) order_[static_cast<std::size_t>(i)] = i;
        std::sort(order_.begin(), order_.begin() + done,
                  [this](Index i, Index j) { return values()[i] > values()[j]; });
        return true;
    }
    void put_residuals(int lane, Index done) {
        const Index pending = n_vectors_ - done;
        for (Index r = 0; r < block_; ++r) {
            for (Index j = 0; j < done; ++j)
                residuals()[j * block_ + r] =
                    r < pending ? get_lane(coefficient(done + r, j), lane) : 0;
        }
    }
    bool check_lane(int lane, Index done, bool is_last, V* to) {
        if (!std::isfinite(get_lane(largest_, lane))) return true;  // it stays NaN
        put_residuals(lane, done);
        if (!decompose(lane, done, residuals(), block_, block_)) return true;
        const auto value = [&](Index i) { return values()[order_[static_cast<std::size_t>(i)]]; };
        const auto residual = [&](Index i) {
            double square = 0;
            for (Index r = 0; r < block_; ++r) {
                const double x = residuals()[order_[static_cast<std::size_t>(i)] * block_ + r];
                square += x * x;
            }
            return std::sqrt(square);
        };
        const Index n = std::min(n_wanted_, done);
        const double scale = std::max(std::fabs(value(0)), std::fabs(value(done - 1)));
        const auto is_found = [&](Index i, Index beyond) {
            const double left = residual(i);
            const double gap =
                beyond < 0 || beyond >= done ? 0 : std::fabs(value(i) - value(beyond));
            const double error = gap > left ? left * left / gap : left;
            return error <= std::max(tolerance * std::fabs(value(i)), 1e-14 * scale);
        };
        for (Index i = 0; i < n && !is_last; ++i) {
            if (!is_found(i, n)) return false;
            if (both_ && !is_found(done - 1 - i, done - 1 - n)) return false;
        }
        for (Index i = 0; i < n; ++i) {
            set_lane(to[i], lane, value(i));
            if (both_) set_lane(to[n_wanted_ + i], lane, value(done - 1 - i));
        }
        return true;
    }
    /// Go on with the vectors of some of the eigenvalues; returns how many.
    Index restart() {
        const Index done = most_;
        const Index pending = n_vectors_ - done;
        const Index kept = std::min(done - 2 * block_, (both_ ? 4 : 2) * n_wanted_ + most_ / 3);
        std::fill_n(turned_.data(), most_ * most_, V{});
        V* const edge = dots_.data();  // of values
        V* const rows = edges_.data();
        std::fill_n(rows, block_ * kept, V{});
        for (int lane = 0; lane < lanes; ++lane) {
            put_residuals(lane, done);
            double* const own = turns();
            std::fill_n(own, most_ * most_, 0.0);
            for (Index i = 0; i < done; ++i) own[i * most_ + i] = 1;
            const bool is_known =
                std::isfinite(get_lane(largest_, lane)) && decompose(lane, done, own, done, most_);
            for (Index c = 0; c < kept; ++c) {
                const Index low = both_ ? kept / 2 : 0;
                const Index place = c < kept - low ? c : done - kept + c;
                const Index column = is_known ? order_[static_cast<std::size_t>(place)] : c;
                set_lane(edge[c], lane, is_known ? values()[column] : 0);
                for (Index r = 0; r < block_; ++r) {
                    double sum = 0;
                    for (Index j = 0; j < done; ++j)
                        sum += residuals()[j * block_ + r] * own[column * most_ + j];
                    set_lane(rows[r * kept + c], lane, sum);
                }
                for (Index j = 0; j < done; ++j)
                    set_lane(turned_.data()[j * most_ + c], lane, own[column * most_ + j]);
            }
        }
        // Place by place, the vectors become their combinations.
        for (Index place = 0; place < size_; ++place) {
            V* const combined = combined_.data();
            std::fill_n(combined, kept, V{});
            for (Index j = 0; j < done; ++j) {
                const V x = vector(j)[place];
                const V* const row = turned_.data() + j * most_;
                for (Index c = 0; c < kept; ++c) combined[c] = fma(x, row[c], combined[c]);
            }
            for (Index c = 0; c < kept; ++c) vector(c)[place] = combined[c];
        }
        for (Index r = 0; r < pending; ++r) std::copy_n(vector(done + r), size_, vector(kept + r));
        std::fill_n(coefficients_.data(), (most_ + block_) * most_, V{});
        for (Index c = 0; c < kept; ++c) {
            coefficient(c, c) = edge[c];
            for (Index r = 0; r < pending; ++r) coefficient(kept + r, c) = rows[r * kept + c];
        }
        n_vectors_ = kept + pending;
        n_kept_ = kept;
        return kept;
    }

    Index size_, stride_, n_wanted_;
    bool both_;
    Index block_, most_;
    Arena<V> basis_, coefficients_, dots_, spare_;
    Arena<double> small_;
    Arena<V> turned_, edges_, combined_;
    std::vector<double> starts_, fresh_;
    std::vector<Index> order_;
    bool done_[lanes] = {};
    Index n_vectors_ = 0, n_fresh_ = 0, n_kept_ = 0;
    V largest_{};
};

}  // namespace linnet
