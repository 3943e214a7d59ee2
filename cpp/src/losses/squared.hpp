// The squared loss.
#pragma once

#include <limits>
#include <memory>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "base/arena.hpp"
#include "linnet/loss.hpp"
#include "losses/engine.hpp"
#include "losses/packed_numbers.hpp"

namespace linnet {

/// What the squared loss knows besides the moments that make residuals: it is least_loss + 1/2 |(P -
/// minimizer) F^T|^2 with F^T F = input_cov, which is never negative and exact near the minimum.
struct LeastSquares {
    RunArray<double> minimizer;   ///< (out, in)
    RunArray<double> factor;      ///< F, (n_rows, in); no data: it is diag(scales)
    RunArray<double> scales;      ///< (in)
    RunArray<double> least_loss;  ///< scalar
    Index n_rows;

    explicit LeastSquares(const LossData& data)
        : minimizer(data.array("minimizer")),
          factor(data.array("factor")),
          scales(data.array("scales")),
          least_loss(data.array("least_loss")),
          n_rows(data.sample_extent) {}
    bool is_diagonal() const { return factor.data == nullptr; }
};

/// The loss of a product. Its residual comes from the moments, by the machines.
template <class V>
class MomentsEngine final : public LossEngine<V> {
public:
    MomentsEngine(const LossData& data, int n_slots)
        : MomentsEngine(data, LeastSquares(data), n_slots) {}

    void set_run(int slot, Index run, Index step) override {
        LossEngine<V>::set_run(slot, run, step);
        if (run < 0) return;
        minimizer_.set_run(slot, run, run_shape_);
        factor_.set_run(slot, run, run_shape_);
        least_loss_.set_run(slot, run, run_shape_);
    }

    V loss(int group, const Entries<V>& product) override {
        const V* const factor = factor_.of(group);
        V total{};
        for (Index i = 0; i < product.rows; ++i) {
            const V* const least = minimizer_.of(group) + i * n_inputs_;
            V* const apart = apart_.data();
            for (Index j = 0; j < n_inputs_; ++j) apart[j] = product(i, j) - least[j];
            V row{};
            if (is_diagonal_) {
                for (Index j = 0; j < n_inputs_; ++j) {
                    const V x = apart[j] * factor[j];
                    row = fma(x, x, row);
                }
            } else {
                for (Index k = 0; k < n_rows_; k += at_once)
                    row = add_squares(apart, factor + k * n_inputs_, row);
            }
            total = total + row;
        }
        return beyond_range(product, fma(broadcast<V>(0.5F), total, *least_loss_.of(group)));
    }

    /// Of a product that no machine has multiplied by the moments.
    void residual(int group, const Entries<V>& product, const Places<V>& to) override {
        multiply(group, product, minimizer_.of(group), to);
    }
    void curvature(int group, const Entries<V>& /*product*/, const Entries<V>& direction,
                   const Places<V>& to) override {
        multiply(group, direction, nullptr, to);
    }

private:
    static constexpr Index at_once = 4;

    /// to <- (from - beyond) F^T F; null: from F^T F.
    void multiply(int group, const Entries<V>& from, const V* beyond, const Places<V>& to) {
        const V* const factor = factor_.of(group);
        for (Index i = 0; i < from.rows; ++i) {
            V* const along = apart_.data();
            for (Index j = 0; j < n_inputs_; ++j) along[j] = from(i, j);
            for (Index j = 0; j < n_inputs_ && beyond != nullptr; ++j)
                along[j] = along[j] - beyond[i * n_inputs_ + j];
            if (is_diagonal_) {
                for (Index j = 0; j < n_inputs_; ++j) to(i, j) = along[j] * factor[j] * factor[j];
                continue;
            }
            V* const row = &to(i, 0);
            for (Index j = 0; j < n_inputs_; ++j) row[j] = V{};
            for (Index k = 0; k < n_rows_; k += at_once) {
                V sums[at_once] = {};
                add_products(along, factor + k * n_inputs_, sums);
                for (Index r = 0; r < at_once; ++r) {
                    const V* const of_row = factor + (k + r) * n_inputs_;
                    for (Index j = 0; j < n_inputs_; ++j) row[j] = fma(sums[r], of_row[j], row[j]);
                }
            }
        }
    }

    MomentsEngine(const LossData& data, const LeastSquares& known, int n_slots)
        : LossEngine<V>(n_slots),
          run_shape_(data.run_shape),
          n_inputs_(data.n_inputs),
          n_rows_(known.n_rows),
          is_diagonal_(known.is_diagonal()),
          minimizer_(known.minimizer, data.n_outputs * n_inputs_, n_slots),
          factor_(is_diagonal_ ? known.scales : known.factor,
                  (is_diagonal_ ? 1 : n_rows_) * n_inputs_, n_slots),
          least_loss_(known.least_loss, 1, n_slots),
          apart_(n_inputs_) {}

    /// Infinite what is no number any more, NaN of a product that holds NaN: whatever the factor.
    static V beyond_range(const Entries<V>& product, V value) {
        const V infinite = broadcast<V>(std::numeric_limits<ScalarOf<V>>::infinity());
        const V one = broadcast<V>(1);
        const auto is_finite = less(value, infinite);
        if (!any(less(V{}, select(is_finite, V{}, one)))) return value;
        V beyond = infinite;
        for (Index i = 0; i < product.rows; ++i) {
            for (Index j = 0; j < product.cols; ++j)
                beyond = select(less_equal(-infinite, product(i, j)), beyond, product(i, j));
        }
        return select(is_finite, value, beyond);
    }
    /// row + the squares of the products with some rows of the factor, several at once: their chains
    /// overlap.
    V add_squares(const V* apart, const V* factor, V row) const {
        V sums[at_once] = {};
        add_products(apart, factor, sums);
        for (const V& x : sums) row = fma(x, x, row);
        return row;
    }
    void add_products(const V* with, const V* factor, V (&sums)[at_once]) const {
        for (Index j = 0; j < n_inputs_; ++j) {
            for (Index k = 0; k < at_once; ++k)
                sums[k] = fma(with[j], factor[k * n_inputs_ + j], sums[k]);
        }
    }

    std::vector<Index> run_shape_;
    Index n_inputs_, n_rows_;
    bool is_diagonal_;
    PackedNumbers<V> minimizer_, factor_, least_loss_;
    Arena<V> apart_;
};

struct SquaredLoss {
    static LossDeclaration declaration() {
        using Type = LossField::Type;
        LossDeclaration squared;
        squared.name = "squared";
        squared.fields = {
            {"input_cov", Type::array, {LossAxis::input, LossAxis::input}},
            {"cross_cov", Type::array, {LossAxis::output, LossAxis::input}},
            {"minimizer", Type::array, {LossAxis::output, LossAxis::input}},
            {"factor", Type::array, {LossAxis::sample, LossAxis::input}, true},
            {"scales", Type::array, {LossAxis::input}, true},
            {"least_loss", Type::array},
        };
        squared.check = [](const LossData& data) {
            const LeastSquares known(data);
            if (known.is_diagonal() == (known.scales.data == nullptr))
                throw std::invalid_argument("a squared loss needs either factor or scales");
            if (known.n_rows % 4 != 0)
                throw std::invalid_argument("factor must be padded to a multiple of 4 rows");
        };
        squared.moments = [](const LossData& data) {
            return Moments{data.array("input_cov"), data.array("cross_cov")};
        };
        return squared;
    }
    template <class V>
    static std::unique_ptr<LossEngine<V>> engine(const LossData& data, const Draws* /*draws*/,
                                                 int n_slots) {
        return std::make_unique<MomentsEngine<V>>(data, n_slots);
    }
    /// A plan has its residual among its products.
    static double work(const LossData& /*data*/, const Draws* /*draws*/) { return 0; }
};

}  // namespace linnet
