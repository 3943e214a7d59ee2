// The neural tangent kernel of a chain on inputs with second moments C: K(X) = J J^T on the outputs of
// n samples, of which nothing of the size of n is ever formed.
//
// As an operator on matrices Z like the product, K / n is Z -> (sum over weights of dP <dP, Z>) C, and
//
//     <K, K'> / n^2 = tr (M M'),   M the matrix of that operator.
//
// Of dense layers M is a sum of Kronecker products, B_l B_l^T (x) A_{l-1}^T A_{l-1} C with A_l = W_l
// ... W_1 and B_l = W_L ... W_{l+1}.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/arena.hpp"
#include "losses/packed_numbers.hpp"
#include "observables/lanczos.hpp"
#include "observables/meter.hpp"

namespace linnet {

/// Second moments of runs: those that all share are kept once, as plain numbers.
template <class V>
class InputMoments {
public:
    InputMoments(const RunArray<double>& moments, Index n_inputs, int n_slots)
        : n_(n_inputs),
          shared_(moments.shared() ? moments.data : nullptr),
          own_(moments.shared() ? RunArray<double>{moments.data, moments.strides} : moments,
               moments.shared() ? 0 : n_ * n_, n_slots) {}
    void set_run(int slot, Index run, const std::vector<Index>& run_shape) {
        if (shared_ == nullptr && run >= 0) own_.set_run(slot, run, run_shape);
    }
    /// row (n numbers) <- x C; row and x are apart.
    void multiply(int group, const V* x, V* row) const {
        for (Index j = 0; j < n_; ++j) row[j] = V{};
        for (Index k = 0; k < n_; ++k) {
            const V factor = x[k];
            if (shared_ != nullptr) {
                const double* const c = shared_ + k * n_;
                for (Index j = 0; j < n_; ++j) row[j] = fma(factor, broadcast<V>(c[j]), row[j]);
            } else {
                const V* const c = own_.of(group) + k * n_;
                for (Index j = 0; j < n_; ++j) row[j] = fma(factor, c[j], row[j]);
            }
        }
    }

private:
    Index n_;
    const double* shared_;
    PackedNumbers<V> own_;
};

/// What kernels see of products: second moments of the inputs, or what a loss measures of them.
template <class Machine>
class Seen {
public:
    using View = MeterView<Machine>;
    using V = typename View::V;

    Seen(const Measure& measure, Index n_inputs, int n_slots) : loss_(measure, n_slots) {
        if (!measure.of_measurements) moments_.emplace(measure.arrays[0], n_inputs, n_slots);
    }
    void set_run(int slot, Index run, const std::vector<Index>& run_shape) {
        loss_.set_run(slot, run);
        if (moments_) moments_->set_run(slot, run, run_shape);
    }
    /// work() where that is at hand.
    template <class Work>
    bool with(const View& at, const Work& work) {
        return loss_.with(at, work);
    }
    const InputMoments<V>& moments() const { return *moments_; }
    /// to <- Z C; or the sum over measurements M of <M, Z> M, over their number. They are apart.
    void multiply(const View& at, const Entries<V>& z, const Places<V>& to) const {
        if (!moments_) {
            at.loss().curvature(at.group(), at.product(), z, to);
            return;
        }
        for (Index i = 0; i < z.rows; ++i)
            moments_->multiply(at.group(), &z.data[i * z.ld], &to(i, 0));
    }

private:
    LossOfMeasure<Machine> loss_;
    std::optional<InputMoments<V>> moments_;
};

/// The largest eigenvalues of K / n.
template <class Machine>
class KernelEigenvalues final : public Meter<Machine> {
public:
    using typename Meter<Machine>::View;
    using typename Meter<Machine>::V;
    using Meter<Machine>::lanes;

    KernelEigenvalues(Index n_weights, Index n_inputs, const Measure& measure, int n_slots)
        : lanczos_(n_weights, measure.count, false),
          seen_(measure, n_inputs, n_slots) {}

    void set_run(int slot, Index run, const std::vector<Index>& run_shape) override {
        seen_.set_run(slot, run, run_shape);
    }
    bool evaluate(const View& at, V* to) override {
        return seen_.with(at, [&] { return find(at, to); });
    }

private:
    bool find(const View& at, V* to) {
        bool is_there[lanes];
        for (int lane = 0; lane < lanes; ++lane) is_there[lane] = at.run(lane) >= 0;
        const Plan& plan = at.plan();
        // J^T C J, on the weights: it has the same eigenvalues but for zeros.
        const auto apply = [&](const V* from, V* result) {
            at.put(from, plan.directions);
            if (!at.operate(plan.tangent_begin, plan.tangent_end)) return false;
            seen_.multiply(at, at.entries(plan.product_tangent), at.places(plan.residual));
            if (!at.pull_back()) return false;
            at.get(plan.gradients, result);
            return true;
        };
        return lanczos_.find(apply, is_there, to) && at.restore();
    }

    Lanczos<V> lanczos_;
    Seen<Machine> seen_;
};

/// The matrix M of the weights in a machine, in one form or another.
template <class Machine>
class Kernel {
public:
    using View = MeterView<Machine>;
    using V = typename View::V;

    Kernel(const Measure& measure, Index n_inputs, int n_slots)
        : seen(measure, n_inputs, n_slots) {}
    virtual ~Kernel() = default;
    Kernel(const Kernel&) = delete;
    Kernel& operator=(const Kernel&) = delete;

    void set_run(int slot, Index run, const std::vector<Index>& run_shape) {
        seen.set_run(slot, run, run_shape);
    }
    /// Of how many numbers it is made.
    virtual Index size() const = 0;
    /// Find them; false if asked to stop.
    virtual bool find(const View& at, V* to) = 0;
    /// tr (M M').
    virtual V inner(const V* one, const V* other) const = 0;

    Seen<Machine> seen;

protected:
    /// tr (a b).
    static V traced(const V* a, const V* b, Index n) {
        V sums[4] = {};
        for (Index i = 0; i < n; ++i) {
            for (Index j = 0; j < n; ++j)
                sums[j % 4] = fma(a[i * n + j], b[j * n + i], sums[j % 4]);
        }
        return (sums[0] + sums[1]) + (sums[2] + sums[3]);
    }
};

/// Of dense chains, by the factors of the Kronecker products.
template <class Machine>
class DenseKernel final : public Kernel<Machine> {
public:
    using typename Kernel<Machine>::View;
    using typename Kernel<Machine>::V;

    DenseKernel(const Chain& chain, const Measure& measure, int n_slots)
        : Kernel<Machine>(measure, chain.n_inputs(), n_slots),
          n_in_(chain.n_inputs()),
          n_out_(chain.n_outputs()),
          n_layers_(static_cast<Index>(chain.factors.size())) {
        Index widest = std::max(n_in_, n_out_);
        for (const Factor& factor : chain.factors) widest = std::max(widest, factor.rows);
        for (Arena<V>* const arena : {&one_, &other_})
            *arena = Arena<V>(widest * std::max(n_in_, n_out_));
        gram_ = Arena<V>(n_in_ * n_in_);
    }
    Index size() const override { return n_layers_ * (n_in_ * n_in_ + n_out_ * n_out_); }

    bool find(const View& at, V* to) override {
        const auto weights = [&](Index l) {
            return at.entries(at.plan().weights[static_cast<std::size_t>(l)]);
        };
        // A_l by columns: vector i has what input i becomes.
        V* now = begin(n_in_);
        V* next = other_.data();
        for (Index l = 0;; ++l) {
            const Entries<V> w = weights(l);
            square(now, n_in_, w.cols, gram_.data());
            for (Index i = 0; i < n_in_; ++i)
                this->seen.moments().multiply(at.group(), gram_.data() + i * n_in_,
                                              to + (l * n_in_ + i) * n_in_);
            if (l + 1 == n_layers_) break;
            for (Index r = 0; r < w.rows; ++r) {
                Index i = 0;
                for (; i + 4 <= n_in_; i += 4) put_products<4>(w, r, now, i, next);
                for (; i < n_in_; ++i) put_products<1>(w, r, now, i, next);
            }
            std::swap(now, next);
        }
        // B_l by rows: vector i has what output i sees.
        V* const left = to + n_layers_ * n_in_ * n_in_;
        now = begin(n_out_);
        next = other_.data();
        for (Index l = n_layers_ - 1;; --l) {
            const Entries<V> w = weights(l);
            square(now, n_out_, w.rows, left + l * n_out_ * n_out_);
            if (l == 0) break;
            for (Index i = 0; i < n_out_; ++i) {
                V* const row = next + i * w.cols;
                for (Index c = 0; c < w.cols; ++c) row[c] = V{};
                for (Index j = 0; j < w.rows; ++j) {
                    const V factor = now[i * w.rows + j];
                    for (Index c = 0; c < w.cols; ++c) row[c] = fma(factor, w(j, c), row[c]);
                }
            }
            std::swap(now, next);
        }
        return !at.pulse();
    }
    V inner(const V* one, const V* other) const override {
        const Index in = n_in_ * n_in_;
        const Index out = n_out_ * n_out_;
        const V* const left = one + n_layers_ * in;
        const V* const other_left = other + n_layers_ * in;
        V total{};
        for (Index l = 0; l < n_layers_; ++l) {
            for (Index m = 0; m < n_layers_; ++m)
                total = fma(this->traced(left + l * out, other_left + m * out, n_out_),
                            this->traced(one + l * in, other + m * in, n_in_), total);
        }
        return total;
    }

private:
    /// The identity.
    V* begin(Index n) {
        std::fill_n(one_.data(), n * n, V{});
        for (Index i = 0; i < n; ++i) one_.data()[i * n + i] = broadcast<V>(1);
        return one_.data();
    }
    /// Entry r of the products of the weights with vectors i, i + 1, ..., side by side: their chains
    /// overlap.
    template <int count>
    static void put_products(const Entries<V>& w, Index r, const V* from, Index i, V* to) {
        V sums[count] = {};
        for (Index j = 0; j < w.cols; ++j) {
            for (int k = 0; k < count; ++k)
                sums[k] = fma(w(r, j), from[(i + k) * w.cols + j], sums[k]);
        }
        for (int k = 0; k < count; ++k) to[(i + k) * w.rows + r] = sums[k];
    }
    /// to <- x x^T, of rows of x.
    static void square(const V* x, Index rows, Index cols, V* to) {
        for (Index i = 0; i < rows; ++i) {
            Index k = 0;
            for (; k + 4 <= i + 1; k += 4) put_squares<4>(x, rows, cols, i, k, to);
            for (; k <= i; ++k) put_squares<1>(x, rows, cols, i, k, to);
        }
    }
    template <int count>
    static void put_squares(const V* x, Index rows, Index cols, Index i, Index first, V* to) {
        V sums[count] = {};
        for (Index j = 0; j < cols; ++j) {
            for (int k = 0; k < count; ++k)
                sums[k] = fma(x[i * cols + j], x[(first + k) * cols + j], sums[k]);
        }
        for (int k = 0; k < count; ++k)
            to[i * rows + first + k] = to[(first + k) * rows + i] = sums[k];
    }

    Index n_in_, n_out_, n_layers_;
    Arena<V> one_, other_, gram_;
};

/// Of any chain: M itself, row by row.
template <class Machine>
class WholeKernel final : public Kernel<Machine> {
public:
    using typename Kernel<Machine>::View;
    using typename Kernel<Machine>::V;

    WholeKernel(const Chain& chain, Index n_weights, const Measure& measure, int n_slots)
        : Kernel<Machine>(measure, chain.n_inputs(), n_slots),
          n_(chain.n_outputs() * chain.n_inputs()),
          moved_(n_weights) {}

    Index size() const override { return n_ * n_; }
    bool find(const View& at, V* to) override {
        const Plan& plan = at.plan();
        const Places<V> residual = at.places(plan.residual);
        for (Index i = 0; i < residual.rows; ++i) {
            for (Index j = 0; j < residual.cols; ++j) {
                // The residual of one layer is its gradient, too.
                for (Index k = 0; k < residual.rows; ++k)
                    std::fill_n(&residual(k, 0), residual.cols, V{});
                residual(i, j) = broadcast<V>(1);
                if (!at.pull_back()) return false;
                at.get(plan.gradients, moved_.data());
                at.put(moved_.data(), plan.directions);
                if (!at.operate(plan.tangent_begin, plan.tangent_end)) return false;
                const Entries<V> product = at.entries(plan.product_tangent);
                this->seen.multiply(at, product, {to, product.cols, product.rows, product.cols});
                to += n_;
            }
        }
        return at.restore();
    }
    V inner(const V* one, const V* other) const override { return this->traced(one, other, n_); }

private:
    Index n_;
    Arena<V> moved_;
};

template <class Machine>
std::unique_ptr<Kernel<Machine>> kernel_of(const Chain& chain, Index n_weights,
                                           const Measure& measure, int n_slots) {
    if (chain.is_dense() && !measure.of_measurements)
        return std::make_unique<DenseKernel<Machine>>(chain, measure, n_slots);
    return std::make_unique<WholeKernel<Machine>>(chain, n_weights, measure, n_slots);
}

/// 1 - <K, K'> / (|K| |K'|) with the kernel at given weights. Arrays: second moments of the inputs,
/// unless it is of measurements, then these weights.
template <class Machine>
class KernelDistance final : public Meter<Machine> {
public:
    using typename Meter<Machine>::View;
    using typename Meter<Machine>::V;
    using Meter<Machine>::lanes;

    KernelDistance(const Chain& chain, Index n_weights, const Measure& measure, int n_slots)
        : kernel_(kernel_of<Machine>(chain, n_weights, measure, n_slots)),
          now_(kernel_->size()),
          from_(kernel_->size() * (n_slots / lanes)),
          kept_(n_weights),
          is_known_(static_cast<std::size_t>(n_slots / lanes), 0) {
        const std::size_t first = measure.of_measurements ? 0 : 1;
        for (std::size_t l = 0; l < chain.sizes.size(); ++l)
            weights_.push_back(std::make_unique<PackedNumbers<V>>(measure.arrays[first + l],
                                                                  chain.sizes[l], n_slots));
    }
    void set_run(int slot, Index run, const std::vector<Index>& run_shape) override {
        if (run < 0) return;
        kernel_->set_run(slot, run, run_shape);
        for (const auto& layer : weights_) layer->set_run(slot, run, run_shape);
        is_known_[static_cast<std::size_t>(slot / lanes)] = 0;
    }
    bool evaluate(const View& at, V* to) override {
        return kernel_->seen.with(at, [&] { return find(at, to); });
    }

private:
    bool find(const View& at, V* to) {
        V* const from = from_.data() + at.group() * kernel_->size();
        char& is_known = is_known_[static_cast<std::size_t>(at.group())];
        if (is_known == 0 && !find_other(at, from)) return false;
        is_known = 1;
        if (!kernel_->find(at, now_.data())) return false;
        const V norm = square_root(kernel_->inner(now_.data(), now_.data())) *
                       square_root(kernel_->inner(from, from));
        const V distance = broadcast<V>(1) - kernel_->inner(now_.data(), from) / norm;
        *to = select(less(distance, V{}), V{}, distance);  // which is rounding
        return true;
    }
    /// Of the weights that are given, which take the places of those in the machine for a while.
    bool find_other(const View& at, V* to) {
        const Plan& plan = at.plan();
        at.get(plan.weights, kept_.data());
        for (std::size_t l = 0; l < weights_.size(); ++l)
            at.put(weights_[l]->of(at.group()), {plan.weights[l]});
        const bool is_found = at.operate(0, plan.product_end) && kernel_->find(at, to);
        at.put(kept_.data(), plan.weights);
        return is_found && at.operate(0, plan.gradient_end);
    }

    std::unique_ptr<Kernel<Machine>> kernel_;
    Arena<V> now_, from_, kept_;
    std::vector<char> is_known_;  // of groups
    std::vector<std::unique_ptr<PackedNumbers<V>>> weights_;
};

/// <K, Y Y^T> / (|K| |Y|^2) with the targets Y. Arrays: second moments of the inputs, unless it is of
/// measurements, those of targets and what they are of, and |Y|^2 / n.
template <class Machine>
class KernelAlignment final : public Meter<Machine> {
public:
    using typename Meter<Machine>::View;
    using typename Meter<Machine>::V;

    KernelAlignment(const Chain& chain, Index n_weights, const Measure& measure, int n_slots)
        : kernel_(kernel_of<Machine>(chain, n_weights, measure, n_slots)),
          now_(kernel_->size()),
          targets_(measure.arrays[measure.arrays.size() - 2], chain.n_outputs() * chain.n_inputs(),
                   n_slots),
          power_(measure.arrays.back(), 1, n_slots) {}

    void set_run(int slot, Index run, const std::vector<Index>& run_shape) override {
        if (run < 0) return;
        kernel_->set_run(slot, run, run_shape);
        targets_.set_run(slot, run, run_shape);
        power_.set_run(slot, run, run_shape);
    }
    bool evaluate(const View& at, V* to) override {
        return kernel_->seen.with(at, [&] { return find(at, to); });
    }

private:
    bool find(const View& at, V* to) {
        if (!kernel_->find(at, now_.data())) return false;
        const Plan& plan = at.plan();
        at.put(targets_.of(at.group()), {plan.residual});
        if (!at.pull_back()) return false;
        V along{};
        for (const int id : plan.gradients) along = along + sum_of_squares(at.entries(id));
        if (!at.restore()) return false;
        *to = along /
              (square_root(kernel_->inner(now_.data(), now_.data())) * *power_.of(at.group()));
        return true;
    }

    std::unique_ptr<Kernel<Machine>> kernel_;
    Arena<V> now_;
    PackedNumbers<V> targets_, power_;
};

}  // namespace linnet
