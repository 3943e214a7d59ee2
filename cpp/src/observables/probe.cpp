#include "observables/probe.hpp"

#include "observables/measures.hpp"

namespace linnet {

namespace {

bool is_wanted(const Wanted& wanted, const Measure& one) {
    return wanted.measures_at_record || (wanted.measures_at_check && one.stops());
}

/// visit(row, place) for the rows that are of a loss.
template <class Visit>
void for_each_of_loss(const Visit& visit) {
    observable::All::for_each([&](auto row, std::size_t place) {
        if constexpr (decltype(row)::of_loss) visit(row, place);
    });
}

}  // namespace

ObservableSizes observable_sizes(const Chain& chain) {
    ObservableSizes sizes{};
    observable::All::for_each([&](auto row, std::size_t place) {
        using Row = decltype(row);
        if (std::is_same_v<Row, observable::Weights>) return;
        sizes[place] = 1;
        for (const Index extent : Row::shape(chain)) sizes[place] *= extent;
    });
    return sizes;
}

template <class Machine>
Probe<Machine>::Probe(Machine machine, const Chain& chain, const std::vector<Index>& run_shape,
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
        is_curved =
            is_curved || one.of_measurements || linnet::measures()[one.kind].needs_curvature;
    if (is_curved) engine().prepare_curvature();
    if (!measures.empty())
        meters_ = std::make_unique<Meters<Machine>>(chain, measures, run_shape, machine_.n_slots());
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

template <class Machine>
Probe<Machine>::Probe(Probe&&) noexcept = default;

template <class Machine>
Probe<Machine>::~Probe() = default;

/// What a row sees of a group of runs.
template <class Machine>
class Probe<Machine>::GroupView {
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
template <class Machine>
class Probe<Machine>::RunView {
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

template <class Machine>
void Probe<Machine>::set_run(int slot, Index run) {
    engine().set_run(slot, run, 0);
    for (const Evaluated& other : evaluated_) other.engine->set_run(slot, run, 0);
    if (meters_) meters_->set_run(slot, run);
}

template <class Machine>
bool Probe<Machine>::evaluate(const Wanted& wanted, int first_slot, int last_slot,
                              const std::function<bool()>& pulse) {
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
    if ((needs & Needs::layer_singular_values) != 0 && layer_values_.empty()) add_layer_values();
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

template <class Machine>
void Probe<Machine>::set_scales(int slot, const double* scales, bool is_decoupled) {
    meters_->set_scales(slot, scales, is_decoupled);
}

template <class Machine>
double Probe<Machine>::measured(int slot, std::size_t k) const {
    return meters_->value(slot, k);
}

template <class Machine>
void Probe<Machine>::write_measure(int slot, std::size_t k, double* to) const {
    for (Index i = 0; i < size_of(measures_[k], chain_); ++i) to[i] = meters_->value(slot, k, i);
}

template <class Machine>
void Probe<Machine>::write(int slot, const ObservableCells& to, const double* direction) {
    RunView at(*this, slot, direction);
    observable::All::for_each([&](auto row, std::size_t place) {
        using Row = decltype(row);
        if (to[place] == nullptr) return;
        if constexpr (Row::by_group) {
            for (Index i = 0; i < sizes_[place]; ++i) to[place][i] = read(slot, places_[place] + i);
        } else if constexpr (!std::is_same_v<Row, observable::Weights>) {
            Row::write(at, to[place]);
        }
    });
}

template <class Machine>
void Probe<Machine>::write(int slot, const ObservableCells& to, std::size_t evaluated) const {
    for_each_of_loss([&](auto /*row*/, std::size_t place) {
        if (to[place] == nullptr) return;
        for (Index i = 0; i < sizes_[place]; ++i)
            to[place][i] = read(slot, evaluated_[evaluated].places[place] + i);
    });
}

template <class Machine>
void Probe<Machine>::add_layer_values() {
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

template <class Machine>
void Probe<Machine>::evaluate_layer_singular_values(int group, V* to) const {
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
            return fma(scale, weights(i, j), broadcast<V>(factor.plus_identity && i == j ? 1 : 0));
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

template <class Machine>
void Probe<Machine>::prepare(const Wanted& wanted, int first_group, int last_group) {
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

template <class Machine>
void Probe<Machine>::evaluate_others(const Wanted& wanted, int group) {
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

template <class Machine>
Entries<typename Probe<Machine>::V> Probe<Machine>::mirrored(int group) {
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

template <class Machine>
LayerVectors Probe<Machine>::layer_vectors(int slot) const {
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

template <class Machine>
bool Probe<Machine>::evaluate_singular_values(std::size_t first, std::size_t last,
                                              const std::function<bool()>& pulse) {
    const Index n = singular_values_.count();
    const int id = plan().product;
    std::size_t g = first;
    if constexpr (packed) {
        for (; g + 1 < last; g += 2) {
            const Entries<V> a = view(static_cast<int>(g), id);
            const Entries<V> b = view(static_cast<int>(g) + 1, id);
            const Twin<V>* const found =
                twin_values_.of([&](Index i, Index j) { return Twin<V>{a(i, j), b(i, j)}; }, pulse);
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

template class Probe<LaneMachine<double>>;
template class Probe<DirectMachine<double>>;

}  // namespace linnet
