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
#include "observables/singular_values.hpp"

namespace linnet {

template <class Machine>
class Meters;

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

ObservableSizes observable_sizes(const Chain& chain);

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
          const std::vector<Measure>& measures, bool is_mirrored);
    Probe(Probe&&) noexcept;
    ~Probe();

    Machine& machine() { return machine_; }
    /// Asked while a record is written whose parts take long.
    void set_pulse(std::function<bool()> pulse) { pulse_ = std::move(pulse); }
    /// Which run a slot holds; -1: none.
    void set_run(int slot, Index run);
    /// By what the products of a slot are mirrored before losses are evaluated.
    void set_mirror(int slot, const double* normal) {
        V* const to = mirrors_.data() + slot / lanes * plan().n_inputs();
        for (Index j = 0; j < plan().n_inputs(); ++j) set_lane(to[j], slot % lanes, normal[j]);
    }

    /// What the method of the run in a slot divides gradients by, where measures need it;
    /// is_decoupled: weight decay is not among these gradients.
    void set_scales(int slot, const double* scales, bool is_decoupled);

    /// Evaluate the groups of slots first ... last - 1 from the weights in the machine; false if
    /// asked to stop.
    bool evaluate(const Wanted& wanted, int first_slot, int last_slot,
                  const std::function<bool()>& pulse);

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
    double measured(int slot, std::size_t k) const;
    /// Write all numbers of a measure for one slot.
    void write_measure(int slot, std::size_t k, double* to) const;
    /// Write what was evaluated for one slot; direction: what angles are measured to, null if to
    /// nothing.
    void write(int slot, const ObservableCells& to, const double* direction);
    /// The same of an evaluated loss, by its number.
    void write(int slot, const ObservableCells& to, std::size_t evaluated) const;

private:
    /// A loss that is evaluated, and where the values of its rows are among a group's.
    struct Evaluated {
        std::unique_ptr<LossEngine<V>> engine;
        std::array<Index, observable::All::size> places;
    };

    class GroupView;
    class RunView;

    /// Singular values of the matrix of an array of weights: of the first factor that has it.
    struct LayerValues {
        const Factor* factor;
        SingularValues<V> values;
        Arena<V> matrix;  // of a factor that is given by its entries
    };
    void add_layer_values();
    void evaluate_layer_singular_values(int group, V* to) const;
    /// Tell losses whose values are wanted of all products at once.
    void prepare(const Wanted& wanted, int first_group, int last_group);
    void evaluate_others(const Wanted& wanted, int group);
    /// The product as evaluated losses see it, until the next one is asked for.
    Entries<V> mirrored(int group);
    LayerVectors layer_vectors(int slot) const;
    bool evaluate_singular_values(std::size_t first, std::size_t last,
                                  const std::function<bool()>& pulse);
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
    std::unique_ptr<Meters<Machine>> meters_;        // null without measures
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
