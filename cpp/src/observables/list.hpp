// The observables. A row is a struct with its name, the shape of one record, what it needs, and
//
//     evaluate(at, to)   of a group of runs at once, in packs, if it is by_group; `at` is what a
//                        probe shows of the group
//     write(at, to)      else: of one run, in plain numbers; `at` is what a probe shows of the run
//
// and is listed in `All`. Both are in probe.hpp.
#pragma once

#include <algorithm>
#include <bitset>
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "base/entries.hpp"
#include "linnet/chain.hpp"

namespace linnet {

/// What an observable needs: of the probe besides the product, and of a problem.
struct Needs {
    static constexpr unsigned nothing = 0;
    static constexpr unsigned gradients = 1;        ///< by the layers
    static constexpr unsigned grams = 2;            ///< of neighbouring layers
    static constexpr unsigned singular_values = 4;  ///< of the product
    static constexpr unsigned one_output = 8;
    static constexpr unsigned direction = 16;
    static constexpr unsigned dense_layers = 32;
    static constexpr unsigned margins = 64;  ///< a loss that has them
    static constexpr unsigned layer_singular_values = 128;
};

namespace observable {

/// What is not said otherwise.
struct Row {
    static constexpr unsigned needs = Needs::nothing;
    static constexpr bool by_group = false;
    /// Does it ask for no more than the loss and the product? Losses that are only evaluated have it
    /// then, too.
    static constexpr bool of_loss = false;
    static std::vector<Index> shape(const Chain&) { return {}; }
};
struct PerLayer : Row {
    static std::vector<Index> shape(const Chain& chain) {
        return {static_cast<Index>(chain.sizes.size())};
    }
};
struct PerPair : Row {
    static std::vector<Index> shape(const Chain& chain) {
        return {static_cast<Index>(chain.sizes.size()) - 1};
    }
};

struct Loss : Row {
    static constexpr const char* name = "loss";
    static constexpr bool by_group = true;
    static constexpr bool of_loss = true;
    template <class At, class V>
    static void evaluate(const At& at, V* to) {
        *to = at.engine().loss(at.group(), at.product());
    }
};

struct SingularValues : Row {
    static constexpr const char* name = "singular_values";
    static constexpr unsigned needs = Needs::singular_values;
    static std::vector<Index> shape(const Chain& chain) {
        return {std::min(chain.n_inputs(), chain.n_outputs())};
    }
    template <class At>
    static void write(At& at, double* to) {
        at.get_singular_values(to);
    }
};

struct Product : Row {
    static constexpr const char* name = "product";
    static std::vector<Index> shape(const Chain& chain) {
        return {chain.n_outputs(), chain.n_inputs()};
    }
    template <class At>
    static void write(At& at, double* to) {
        at.get_product(to);
    }
};

/// The weights themselves: written by whoever has them in the numbers of the run.
struct Weights : Row {
    static constexpr const char* name = "weights";
};

struct LayerNorms : PerLayer {
    static constexpr const char* name = "layer_norms";
    static constexpr bool by_group = true;
    template <class At, class V>
    static void evaluate(const At& at, V* to) {
        for (Index l = 0; l < at.n_layers(); ++l)
            to[l] = square_root(sum_of_squares(at.weights(l)));
    }
};

/// Of dense chains by matrices, else by squared norms.
struct Imbalance : PerPair {
    static constexpr const char* name = "imbalance";
    static constexpr unsigned needs = Needs::grams;
    static constexpr bool by_group = true;
    template <class At, class V>
    static void evaluate(const At& at, V* to) {
        if (at.has_grams()) {
            for (Index l = 0; l + 1 < at.n_layers(); ++l)
                to[l] = square_root(squared_distance(at.upper_gram(l), at.lower_gram(l)));
            return;
        }
        for (Index l = 0; l + 1 < at.n_layers(); ++l)
            to[l] = absolute(sum_of_squares(at.weights(l + 1)) - sum_of_squares(at.weights(l)));
    }
};

struct GradientNorm : Row {
    static constexpr const char* name = "gradient_norm";
    static constexpr unsigned needs = Needs::gradients;
    static constexpr bool by_group = true;
    template <class At, class V>
    static void evaluate(const At& at, V* to) {
        V squares{};
        for (Index l = 0; l < at.n_layers(); ++l) {
            const V decay = at.decay(l);
            const Entries<V> gradient = at.gradient(l);
            const Entries<V> weight = at.weights(l);
            V total{};
            for (Index i = 0; i < gradient.rows; ++i) {
                V row{};
                for (Index j = 0; j < gradient.cols; ++j) {
                    const V g = fma(decay, weight(i, j), gradient(i, j));
                    row = fma(g, g, row);
                }
                total = total + row;
            }
            squares = squares + total;
        }
        *to = square_root(squares);
    }
};

/// Of the matrix of every array of weights, descending; behind the last one NaN.
struct LayerSingularValues : Row {
    static constexpr const char* name = "layer_singular_values";
    static constexpr bool by_group = true;
    static constexpr unsigned needs = Needs::layer_singular_values;
    static std::vector<Index> shape(const Chain& chain) {
        Index most = 0;
        for (const Factor& factor : chain.factors) {
            if (factor.array >= 0) most = std::max(most, std::min(factor.rows, factor.cols));
        }
        return {static_cast<Index>(chain.sizes.size()), most};
    }
    template <class At, class V>
    static void evaluate(const At& at, V* to) {
        at.get_layer_singular_values(to);
    }
};

/// e^entropy of s / sum s.
struct EffectiveRank : Row {
    static constexpr const char* name = "effective_rank";
    static constexpr unsigned needs = Needs::singular_values;
    template <class At>
    static void write(At& at, double* to) {
        const std::vector<double>& s = at.singular_values();
        double sum = 0;
        for (const double x : s) sum += x / s.front();
        double entropy = 0;
        for (const double x : s) {
            const double p = x / s.front() / sum;
            if (!(p <= 0)) entropy -= p * std::log(p);
        }
        *to = std::exp(entropy);
        if (s.front() == 0) *to = std::numeric_limits<double>::quiet_NaN();
    }
};

/// |P|_F^2 / |P|_2^2.
struct StableRank : Row {
    static constexpr const char* name = "stable_rank";
    static constexpr unsigned needs = Needs::singular_values;
    template <class At>
    static void write(At& at, double* to) {
        const std::vector<double>& s = at.singular_values();
        *to = 0;
        for (const double x : s) *to += x / s.front() * (x / s.front());
    }
};

struct Norm : Row {
    static constexpr const char* name = "norm";
    template <class At>
    static void write(At& at, double* to) {
        *to = at.norm();
    }
};

struct Angle : Row {
    static constexpr const char* name = "angle";
    static constexpr unsigned needs = Needs::one_output | Needs::direction;
    template <class At>
    static void write(At& at, double* to) {
        *to = at.to_direction().angle;
    }
};

struct LogTanHalfAngle : Row {
    static constexpr const char* name = "log_tan_half_angle";
    static constexpr unsigned needs = Needs::one_output | Needs::direction;
    template <class At>
    static void write(At& at, double* to) {
        *to = at.to_direction().log_tan_half_angle;
    }
};

/// The least one over the norm of the product.
struct Margin : Row {
    static constexpr const char* name = "margin";
    static constexpr unsigned needs = Needs::margins;
    static constexpr bool by_group = true;
    static constexpr bool of_loss = true;
    template <class At, class V>
    static void evaluate(const At& at, V* to) {
        *to = at.engine().margin(at.group(), at.product());
    }
};

/// The share of margins that are positive.
struct Accuracy : Row {
    static constexpr const char* name = "accuracy";
    static constexpr unsigned needs = Needs::margins;
    static constexpr bool by_group = true;
    static constexpr bool of_loss = true;
    template <class At, class V>
    static void evaluate(const At& at, V* to) {
        *to = at.engine().accuracy(at.group(), at.product());
    }
};

/// Second over first singular value.
struct LayerSingularRatio : PerLayer {
    static constexpr const char* name = "layer_singular_ratio";
    static constexpr unsigned needs = Needs::dense_layers;
    template <class At>
    static void write(At& at, double* to) {
        const std::vector<double>& ratios = at.layer_vectors().ratios;
        std::copy(ratios.begin(), ratios.end(), to);
    }
};

/// Cosines between first singular vectors of neighbours.
struct LayerAlignment : PerPair {
    static constexpr const char* name = "layer_alignment";
    static constexpr unsigned needs = Needs::dense_layers;
    template <class At>
    static void write(At& at, double* to) {
        const std::vector<double>& cosines = at.layer_vectors().cosines;
        std::copy(cosines.begin(), cosines.end(), to);
    }
};

template <class... Rows>
struct List {
    static constexpr std::size_t size = sizeof...(Rows);

    /// Where a row stands.
    template <class One>
    static constexpr std::size_t place() {
        constexpr bool same[] = {std::is_same_v<One, Rows>...};
        std::size_t at = 0;
        while (!same[at]) ++at;
        return at;
    }
    /// visit(row, place) for all of them; a row has no content.
    template <class Visit>
    static void for_each(const Visit& visit) {
        std::size_t at = 0;
        (visit(Rows{}, at++), ...);
    }
};

using All = List<Loss, SingularValues, Product, Weights, LayerNorms, Imbalance, GradientNorm, Norm,
                 Angle, LogTanHalfAngle, Margin, Accuracy, LayerSingularRatio, LayerAlignment,
                 LayerSingularValues, EffectiveRank, StableRank>;

}  // namespace observable

/// A set of observables.
using RowSet = std::bitset<observable::All::size>;

/// What a probe is asked: observables of the training, and of evaluated losses what they are asked
/// for at records, at checks, or at both.
struct Wanted {
    RowSet rows;
    bool at_record = false, at_check = false;
    bool measures_at_record = false, measures_at_check = false;

    bool any_measure() const { return measures_at_record || measures_at_check; }
    bool any() const { return rows.any() || at_record || at_check || any_measure(); }
    Wanted& operator|=(const Wanted& other) {
        rows |= other.rows;
        at_record = at_record || other.at_record;
        at_check = at_check || other.at_check;
        measures_at_record = measures_at_record || other.measures_at_record;
        measures_at_check = measures_at_check || other.measures_at_check;
        return *this;
    }
};

template <class One>
inline constexpr std::size_t place_of = observable::All::place<One>();

}  // namespace linnet
