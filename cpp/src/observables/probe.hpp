// Observables of a group of runs, always in double precision: one pack per group of lanes, or one
// plain number.
#pragma once

#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/entries.hpp"
#include "engines/direct_machine.hpp"
#include "engines/lane_machine.hpp"
#include "observables/direction.hpp"
#include "observables/layer_vectors.hpp"
#include "observables/list.hpp"
#include "observables/measures.hpp"
#include "observables/singular_values.hpp"

namespace linnet {

/// How many numbers each observable has; 0 of the weights.
using ObservableSizes = std::array<Index, observable::All::size>;
/// Where each is written for one run; null: not wanted.
using ObservableCells = std::array<double*, observable::All::size>;

/// A loss that is evaluated, and which of the rows that are of a loss are asked of it.
struct Evaluation {
    const LossData* loss;
    RowSet at_record, at_check;

    RowSet asked(const Wanted& wanted) const {
        return (wanted.at_record ? at_record : RowSet{}) | (wanted.at_check ? at_check : RowSet{});
    }
};

inline ObservableSizes observable_sizes(const Chain& chain) {
    ObservableSizes sizes{};
    observable::All::for_each([&](auto row, std::size_t place) {
        using Row = decltype(row);
        if (std::is_same_v<Row, observable::Weights>) return;
        sizes[place] = 1;
        for (const Index extent : Row::shape(chain)) sizes[place] *= extent;
    });
    return sizes;
}

/// Observables of up to n_slots runs at once, on a lane machine or a direct machine that holds a
/// gradient plan, and losses: that of the training, and others that are evaluated.
template <class Machine>
class Probe {
public:
    static constexpr bool packed = Machine::packed;
    using V = std::conditional_t<packed, Pack<double, native_lanes<double>>, double>;
    static constexpr int lanes = packed ? native_lanes<double> : 1;

    /// chain, evaluations and measures, and what they point to, must outlive this.
    Probe(Machine machine, const Chain& chain, const std::vector<Index>& run_shape,
          const ObservableSizes& sizes, const std::vector<Evaluation>& evaluations,
          const std::vector<Measure>& measures, bool is_mirrored)
        : machine_(std::move(machine)),
          chain_(chain),
          sizes_(sizes),
          evaluations_(evaluations),
          measures_(measures),
          singular_values_(plan().n_outputs(), plan().n_inputs()),
          twin_values_(packed ? plan().n_outputs() : 1, packed ? plan().n_inputs() : 1) {
        Index per_group = singular_values_.count();
        observable::All::for_each([&](auto row, std::size_t place) {
            places_[place] = per_group;
            if (decltype(row)::by_group) per_group += sizes_[place];
        });
        for (const Evaluation& evaluation : evaluations) {
            evaluated_.push_back(
                {Losses::engine<V>(*evaluation.loss, nullptr, machine_.n_slots()), {}});
            for_each_of_loss([&](auto /*row*/, std::size_t place) {
                evaluated_.back().places[place] = per_group;
                per_group += sizes_[place];
            });
        }
        const int n_groups = machine_.n_slots() / lanes;
        bool is_curved = false;
        for (const Measure& one : measures)
            is_curved = is_curved || linnet::measures()[one.kind].needs_curvature;
        if (is_curved) engine().prepare_curvature();
        if (!measures.empty()) meters_.emplace(chain, measures, run_shape, machine_.n_slots());
        if (is_mirrored) {
            mirrors_ = Arena<V>(plan().n_inputs() * n_groups);
            mirrored_ = Arena<V>(plan().n_outputs() * plan().n_inputs());
        }
        values_ = Arena<V>(per_group * n_groups);
        products_.reserve(static_cast<std::size_t>(n_groups));
        for (int g = 0; g < n_groups; ++g) groups_.push_back(values_.data() + per_group * g);
        product_.resize(static_cast<std::size_t>(plan().n_outputs() * plan().n_inputs()));
        sorted_.resize(static_cast<std::size_t>(singular_values_.count()));
    }

    Machine& machine() { return machine_; }
    /// Asked while a record is written whose parts take long.
    void set_pulse(std::function<bool()> pulse) { pulse_ = std::move(pulse); }
    /// Which run a slot holds; -1: none.
    void set_run(int slot, Index run) {
        engine().set_run(slot, run, 0);
        for (const Evaluated& other : evaluated_) other.engine->set_run(slot, run, 0);
        if (meters_) meters_->set_run(slot, run);
    }
    /// By what the products of a slot are mirrored before losses are evaluated.
    void set_mirror(int slot, const double* normal) {
        V* const to = mirrors_.data() + slot / lanes * plan().n_inputs();
        for (Index j = 0; j < plan().n_inputs(); ++j) set_lane(to[j], slot % lanes, normal[j]);
    }

    /// Evaluate the groups of slots first ... last - 1 from the weights in the machine; false if
    /// asked to stop.
    template <class Pulse>
    bool evaluate(const Wanted& wanted, int first_slot, int last_slot, Pulse&& pulse) {
        const auto first_group = static_cast<std::size_t>(first_slot / lanes);
        const auto last_group = static_cast<std::size_t>((last_slot + lanes - 1) / lanes);
        unsigned needs = Needs::nothing;
        observable::All::for_each([&](auto row, std::size_t place) {
            if (wanted.rows[place]) needs |= decltype(row)::needs;
        });
        for (const Measure& one : measures_) {
            if (!is_wanted(wanted, one)) continue;
            const MeasureDeclaration& declared = measures()[one.kind];
            if (declared.needs_directions) needs |= Needs::gradients;
            if (declared.needs_singular_values) needs |= Needs::singular_values;
        }
        const std::size_t end =
            (needs & Needs::gradients) != 0 ? plan().gradient_end : plan().product_end;
        if (!machine_.run(0, end, first_group, last_group)) return false;
        if ((needs & Needs::grams) != 0 &&
            !machine_.run(plan().gradient_end, plan().gram_end, first_group, last_group))
            return false;
        if ((needs & Needs::layer_singular_values) != 0 && layer_values_.empty())
            add_layer_values();
        prepare(wanted, static_cast<int>(first_group), static_cast<int>(last_group));
        for (std::size_t g = first_group; g < last_group; ++g) {
            const GroupView at(*this, static_cast<int>(g));
            observable::All::for_each([&](auto row, std::size_t place) {
                using Row = decltype(row);
                if constexpr (Row::by_group) {
                    if (wanted.rows[place]) Row::evaluate(at, groups_[g] + places_[place]);
                }
            });
            evaluate_others(wanted, static_cast<int>(g));
        }
        if (pulse()) return false;
        if ((needs & Needs::singular_values) != 0 &&
            !evaluate_singular_values(first_group, last_group, pulse))
            return false;
        // Last, for they may use the machine's matrices.
        for (std::size_t g = first_group; g < last_group && wanted.any_measure(); ++g) {
            if (!meters_->evaluate(machine_, static_cast<int>(g), groups_[g], pulse_,
                                   [&](const Measure& one) { return is_wanted(wanted, one); }))
                return false;
        }
        return true;
    }

    /// What was evaluated of one slot, of a row by groups that is one number.
    template <class Row>
    double value(int slot) const {
        return read(slot, places_[place_of<Row>]);
    }
    /// The same of an evaluated loss, by its number.
    template <class Row>
    double value(int slot, std::size_t evaluated) const {
        return read(slot, evaluated_[evaluated].places[place_of<Row>]);
    }

    /// The first number of a measure.
    double measured(int slot, std::size_t k) const { return meters_->value(slot, k); }
    /// Write all numbers of a measure for one slot.
    void write_measure(int slot, std::size_t k, double* to) const {
        for (Index i = 0; i < size_of(measures_[k], chain_); ++i)
            to[i] = meters_->value(slot, k, i);
    }
    /// Write what was evaluated for one slot; direction: what angles are measured to, null if to
    /// nothing.
    void write(int slot, const ObservableCells& to, const double* direction) {
        RunView at(*this, slot, direction);
        observable::All::for_each([&](auto row, std::size_t place) {
            using Row = decltype(row);
            if (to[place] == nullptr) return;
            if constexpr (Row::by_group) {
                for (Index i = 0; i < sizes_[place]; ++i)
                    to[place][i] = read(slot, places_[place] + i);
            } else if constexpr (!std::is_same_v<Row, observable::Weights>) {
                Row::write(at, to[place]);
            }
        });
    }
    /// The same of an evaluated loss, by its number.
    void write(int slot, const ObservableCells& to, std::size_t evaluated) const {
        for_each_of_loss([&](auto /*row*/, std::size_t place) {
            if (to[place] == nullptr) return;
            for (Index i = 0; i < sizes_[place]; ++i)
                to[place][i] = read(slot, evaluated_[evaluated].places[place] + i);
        });
    }

private:
    /// A loss that is evaluated, and where the values of its rows are among a group's.
    struct Evaluated {
        std::unique_ptr<LossEngine<V>> engine;
        std::array<Index, observable::All::size> places;
    };

    /// What a row sees of a group of runs.
    class GroupView {
    public:
        GroupView(const Probe& probe, int group)
            : GroupView(probe, group, probe.engine(), probe.view(group, probe.plan().product)) {}
        /// With another loss, which may see the product in other coordinates.
        GroupView(const Probe& probe, int group, LossEngine<V>& engine, const Entries<V>& product)
            : probe_(probe),
              group_(group),
              engine_(engine),
              product_(product) {}

        int group() const { return group_; }
        Index n_layers() const { return plan().n_layers(); }
        LossEngine<V>& engine() const { return engine_; }
        V decay(Index layer) const { return probe_.machine_.decay(group_, layer); }
        Entries<V> product() const { return product_; }
        Entries<V> weights(Index l) const { return view(plan().weights[at(l)]); }
        Entries<V> gradient(Index l) const { return view(plan().gradients[at(l)]); }
        bool has_grams() const { return !plan().grams.empty(); }
        Entries<V> upper_gram(Index l) const { return view(plan().grams[at(l)].first); }
        Entries<V> lower_gram(Index l) const { return view(plan().grams[at(l)].second); }
        void get_layer_singular_values(V* to) const {
            probe_.evaluate_layer_singular_values(group_, to);
        }

    private:
        static std::size_t at(Index l) { return static_cast<std::size_t>(l); }
        const Plan& plan() const { return probe_.plan(); }
        Entries<V> view(int id) const { return probe_.view(group_, id); }

        const Probe& probe_;
        int group_;
        LossEngine<V>& engine_;
        Entries<V> product_;
    };

    /// What a row sees of one run. Everything is worked out once, when it is first asked for.
    class RunView {
    public:
        RunView(Probe& probe, int slot, const double* direction)
            : probe_(probe),
              slot_(slot),
              direction_(direction) {}

        void get_product(double* to) const {
            probe_.machine_.get_matrix(slot_, probe_.plan().product, to);
        }
        const std::vector<double>& product() {
            if (!has_product_) get_product(probe_.product_.data());
            has_product_ = true;
            return probe_.product_;
        }
        /// Descending.
        void get_singular_values(double* to) const {
            const Index n = probe_.singular_values_.count();
            for (Index i = 0; i < n; ++i) to[i] = probe_.read(slot_, i);
            std::sort(to, to + n, [](double x, double y) { return x > y; });
        }
        const std::vector<double>& singular_values() {
            get_singular_values(probe_.sorted_.data());
            return probe_.sorted_;
        }
        double norm() {
            if (direction_ != nullptr) return to_direction().norm;
            return norm_of(product().data(), static_cast<Index>(product().size()));
        }
        const Direction& to_direction() {
            if (!to_direction_) {
                const auto n = static_cast<Index>(product().size());
                to_direction_ = direction_of(product().data(), direction_, n);
            }
            return *to_direction_;
        }
        const LayerVectors& layer_vectors() {
            if (!layer_vectors_) layer_vectors_ = probe_.layer_vectors(slot_);
            return *layer_vectors_;
        }

    private:
        Probe& probe_;
        int slot_;
        const double* direction_;
        bool has_product_ = false;
        std::optional<Direction> to_direction_;
        std::optional<LayerVectors> layer_vectors_;
    };

    static bool is_wanted(const Wanted& wanted, const Measure& one) {
        return wanted.measures_at_record || (wanted.measures_at_check && one.stops());
    }
    /// Singular values of the matrix of an array of weights: of the first factor that has it.
    struct LayerValues {
        const Factor* factor;
        SingularValues<V> values;
        Arena<V> matrix;  // of a factor that is given by its entries
    };
    void add_layer_values() {
        for (std::size_t a = 0; a < chain_.sizes.size(); ++a) {
            for (const Factor& factor : chain_.factors) {
                if (factor.array != static_cast<int>(a)) continue;
                layer_values_.push_back({&factor,
                                         {factor.rows, factor.cols},
                                         Arena<V>(factor.dense ? 0 : factor.rows * factor.cols)});
                break;
            }
        }
    }
    void evaluate_layer_singular_values(int group, V* to) const {
        const Index most = observable::LayerSingularValues::shape(chain_)[1];
        for (std::size_t a = 0; a < layer_values_.size(); ++a, to += most) {
            LayerValues& layer = layer_values_[a];
            const Factor& factor = *layer.factor;
            const Entries<V> weights = view(group, plan().weights[a]);
            const V scale = broadcast<V>(factor.scale);
            V* const matrix = layer.matrix.data();
            if (!factor.dense) std::fill_n(matrix, factor.rows * factor.cols, V{});
            for (const Factor::Entry& entry : factor.entries) {
                V& at = matrix[entry.row * factor.cols + entry.col];
                const V coefficient = broadcast<V>(entry.coefficient);
                at = entry.weight < 0 ? at + coefficient
                                      : fma(coefficient, weights(0, entry.weight), at);
            }
            const auto value = [&](Index i, Index j) {
                if (!factor.dense) return matrix[i * factor.cols + j];
                if (!factor.plus_identity && factor.scale == 1) return weights(i, j);
                return fma(scale, weights(i, j),
                           broadcast<V>(factor.plus_identity && i == j ? 1 : 0));
            };
            const V* const found = layer.values.of(value, pulse_);
            const Index n = layer.values.count();
            for (Index i = 0; i < most; ++i)
                to[i] = i < n ? found[i] : broadcast<V>(std::numeric_limits<double>::quiet_NaN());
            for (Index i = 1; i < n; ++i) {
                for (Index k = i; k > 0; --k) {
                    const V above = to[k - 1];
                    to[k - 1] = larger(above, to[k]);
                    to[k] = smaller(above, to[k]);
                }
            }
        }
    }
    /// visit(row, place) for the rows that are of a loss.
    template <class Visit>
    static void for_each_of_loss(const Visit& visit) {
        observable::All::for_each([&](auto row, std::size_t place) {
            if constexpr (decltype(row)::of_loss) visit(row, place);
        });
    }
    /// Tell losses whose values are wanted of all products at once.
    void prepare(const Wanted& wanted, int first_group, int last_group) {
        products_.clear();
        for (int g = first_group; g < last_group; ++g) products_.push_back(view(g, plan().product));
        constexpr std::size_t loss = place_of<observable::Loss>;
        if (wanted.rows[loss]) engine().prepare(first_group, last_group, products_.data());
        if (mirrored_.data() != nullptr) return;
        for (std::size_t k = 0; k < evaluated_.size(); ++k) {
            if (evaluations_[k].asked(wanted)[loss])
                evaluated_[k].engine->prepare(first_group, last_group, products_.data());
        }
    }
    void evaluate_others(const Wanted& wanted, int group) {
        if (!wanted.at_record && !wanted.at_check) return;
        const Entries<V> product = mirrored(group);
        for (std::size_t k = 0; k < evaluated_.size(); ++k) {
            const RowSet asked = evaluations_[k].asked(wanted);
            const GroupView at(*this, group, *evaluated_[k].engine, product);
            V* const values = groups_[static_cast<std::size_t>(group)];
            for_each_of_loss([&](auto row, std::size_t place) {
                if (asked[place]) decltype(row)::evaluate(at, values + evaluated_[k].places[place]);
            });
        }
    }
    /// The product as evaluated losses see it, until the next one is asked for.
    Entries<V> mirrored(int group) {
        const Entries<V> product = view(group, plan().product);
        V* const to = mirrored_.data();
        if (to == nullptr) return product;
        const V* const normal = mirrors_.data() + group * product.cols;
        for (Index i = 0; i < product.rows; ++i) {
            V along{};
            for (Index j = 0; j < product.cols; ++j) along = fma(product(i, j), normal[j], along);
            for (Index j = 0; j < product.cols; ++j)
                to[i * product.cols + j] = fma(-along, normal[j], product(i, j));
        }
        return {to, product.cols, product.rows, product.cols};
    }
    LayerVectors layer_vectors(int slot) const {
        std::vector<std::pair<Index, Index>> shapes;
        std::vector<std::vector<double>> layers;
        for (const int id : plan().weights) {
            const Plan::Matrix& m = plan().matrices[static_cast<std::size_t>(id)];
            shapes.emplace_back(m.rows, m.cols);
            layers.emplace_back(static_cast<std::size_t>(m.rows * m.cols));
            machine_.get_matrix(slot, id, layers.back().data());
        }
        return layer_vectors_of(shapes, layers, pulse_);
    }
    template <class Pulse>
    bool evaluate_singular_values(std::size_t first, std::size_t last, Pulse&& pulse) {
        const Index n = singular_values_.count();
        const int id = plan().product;
        std::size_t g = first;
        if constexpr (packed) {
            for (; g + 1 < last; g += 2) {
                const Entries<V> a = view(static_cast<int>(g), id);
                const Entries<V> b = view(static_cast<int>(g) + 1, id);
                const Twin<V>* const found = twin_values_.of(
                    [&](Index i, Index j) { return Twin<V>{a(i, j), b(i, j)}; }, pulse);
                for (Index i = 0; i < n; ++i) {
                    groups_[g][i] = found[i].a;
                    groups_[g + 1][i] = found[i].b;
                }
            }
        }
        for (; g < last; ++g) {
            const Entries<V> a = view(static_cast<int>(g), id);
            std::copy_n(singular_values_.of([&](Index i, Index j) { return a(i, j); }, pulse), n,
                        groups_[g]);
        }
        return !pulse();
    }
    const Plan& plan() const { return machine_.plan(); }
    LossEngine<V>& engine() const { return *machine_.steering().loss; }
    double read(int slot, Index at) const {
        return get_lane(groups_[static_cast<std::size_t>(slot / lanes)][at], slot % lanes);
    }
    Entries<V> view(int group, int id) const {
        const Plan::Matrix& shape = plan().matrices[static_cast<std::size_t>(id)];
        const auto m = machine_.view(group, id);
        return {m.data, m.ld, shape.rows, shape.cols};
    }

    Machine machine_;
    const Chain& chain_;
    ObservableSizes sizes_;
    const std::vector<Evaluation>& evaluations_;
    const std::vector<Measure>& measures_;
    std::optional<Meters<Machine>> meters_;
    mutable std::vector<LayerValues> layer_values_;  // where they are asked for
    std::vector<double> sorted_;
    std::vector<Evaluated> evaluated_;
    std::vector<Entries<V>> products_;  // per group
    Arena<V> mirrors_;                  // normals, per group
    Arena<V> mirrored_;                 // a product
    /// Of the rows by groups among a group's values; singular values stand first.
    std::array<Index, observable::All::size> places_{};
    SingularValues<V> singular_values_;
    SingularValues<Twin<V>> twin_values_;
    Arena<V> values_;
    std::vector<V*> groups_;
    std::vector<double> product_;
    std::function<bool()> pulse_ = [] { return false; };
};

}  // namespace linnet
