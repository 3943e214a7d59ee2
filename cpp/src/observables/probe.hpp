// Observables of a group of runs, always in double precision: one pack per group of lanes, or one
// plain number.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/entries.hpp"
#include "engines/direct_machine.hpp"
#include "engines/lane_machine.hpp"
#include "observables/direction.hpp"
#include "observables/layer_vectors.hpp"
#include "observables/list.hpp"
#include "observables/singular_values.hpp"

namespace linnet {

/// Observables of up to n_slots runs at once, on a lane machine or a direct machine that holds a
/// gradient plan.
template <class Machine>
class Probe {
public:
    static constexpr bool packed = Machine::packed;
    using V = std::conditional_t<packed, Pack<double, native_lanes<double>>, double>;
    static constexpr int lanes = packed ? native_lanes<double> : 1;

    Probe(Machine machine, const double* shared_cross, Index cross_size)
        : machine_(std::move(machine)),
          shared_cross_(shared_cross),
          singular_values_(machine_.plan().n_outputs(), machine_.plan().n_inputs()),
          twin_values_(packed ? machine_.plan().n_outputs() : 1,
                       packed ? machine_.plan().n_inputs() : 1) {
        const int n_groups = machine_.n_slots() / lanes;
        const Index per_group = singular_values_at() + singular_values_.count();
        values_ = Arena<V>(per_group * n_groups);
        cross_ = Arena<V>(shared_cross == nullptr ? cross_size * n_groups : 0);
        power_ = Arena<V>(n_groups);
        sorted_.resize(static_cast<std::size_t>(singular_values_.count()));
        const Plan& plan = machine_.plan();
        product_.resize(static_cast<std::size_t>(plan.n_outputs() * plan.n_inputs()));
        for (const int id : plan.weights) {
            const Plan::Matrix& m = plan.matrices[static_cast<std::size_t>(id)];
            shapes_.emplace_back(m.rows, m.cols);
        }
        for (int g = 0; g < n_groups; ++g) groups_.push_back(values_.data() + per_group * g);
        cross_size_ = cross_size;
    }

    Machine& machine() { return machine_; }

    void set_moments(int slot, const double* cov, const double* cross, double power) {
        machine_.set_moments(slot, cov, cross);
        if (shared_cross_ == nullptr) {
            for (Index i = 0; i < cross_size_; ++i)
                put(cross_.data()[(slot / lanes) * cross_size_ + i], slot, cross[i]);
        }
        set_power(slot, power);
    }
    /// Which run a slot holds, for losses that are not made of moments; -1: none.
    void set_run(int slot, Index run) {
        if (machine_.steering().loss != nullptr) machine_.steering().loss->set_run(slot, run, 0);
    }
    void set_power(int slot, double power) { put(power_.data()[slot / lanes], slot, power); }

    /// Evaluate the groups of slots first ... last - 1 from the weights in the machine; false if
    /// asked to stop.
    template <class Pulse>
    bool evaluate(const Wanted& wanted, int first_slot, int last_slot, Pulse&& pulse) {
        const auto first_group = static_cast<std::size_t>(first_slot / lanes);
        const auto last_group = static_cast<std::size_t>((last_slot + lanes - 1) / lanes);
        const Plan& plan = machine_.plan();
        LossEngine<V>* const engine = machine_.steering().loss.get();
        const std::size_t end = wanted.gradient_norm               ? plan.gradient_end
                                : wanted.loss && engine == nullptr ? plan.residual_end
                                                                   : plan.product_end;
        if (!machine_.run(0, end, first_group, last_group)) return false;
        if (wanted.imbalance &&
            !machine_.run(plan.gradient_end, plan.operations.size(), first_group, last_group))
            return false;
        for (std::size_t g = first_group; g < last_group; ++g) {
            const auto group = static_cast<int>(g);
            V* const values = groups_[g];
            const auto entries = [&](int id) { return view(group, id); };
            const Entries<V> product = entries(plan.product);
            if (wanted.margin && engine != nullptr) values[2] = engine->margin(group, product.data);
            if (wanted.loss && engine != nullptr) {
                values[0] = engine->loss(group, product.data);
            } else if (wanted.loss) {
                const V power = power_.data()[g];
                if (shared_cross_ != nullptr) {
                    const auto cross = [&](Index i, Index j) {
                        return broadcast<V>(shared_cross_[i * product.cols + j]);
                    };
                    values[0] = squared_loss(product, entries(plan.residual), cross, power);
                } else {
                    const V* const own = cross_.data() + group * cross_size_;
                    const auto cross = [&](Index i, Index j) { return own[i * product.cols + j]; };
                    values[0] = squared_loss(product, entries(plan.residual), cross, power);
                }
            }
            if (wanted.gradient_norm) {
                V total{};
                for (Index l = 0; l < plan.n_layers(); ++l) {
                    const auto at = static_cast<std::size_t>(l);
                    total = total + gradient_squares(group, entries(plan.gradients[at]),
                                                     entries(plan.weights[at]));
                }
                values[1] = square_root(total);
            }
            V* const norms = values + 3;
            V* const imbalance = norms + plan.n_layers();
            if (wanted.layer_norms) {
                for (Index l = 0; l < plan.n_layers(); ++l) {
                    norms[l] = square_root(
                        sum_of_squares(entries(plan.weights[static_cast<std::size_t>(l)])));
                }
            }
            if (wanted.imbalance) {
                const auto squares = [&](Index l) {
                    return sum_of_squares(entries(plan.weights[static_cast<std::size_t>(l)]));
                };
                for (Index l = 0; plan.grams.empty() && l + 1 < plan.n_layers(); ++l)
                    imbalance[l] = absolute(squares(l + 1) - squares(l));
                for (std::size_t l = 0; l < plan.grams.size(); ++l) {
                    imbalance[l] = square_root(squared_distance(entries(plan.grams[l].first),
                                                                entries(plan.grams[l].second)));
                }
            }
        }
        if (pulse()) return false;
        return !wanted.singular_values || evaluate_singular_values(first_group, last_group, pulse);
    }

    double loss(int slot) const { return read(value(slot, 0), slot); }
    double gradient_norm(int slot) const { return read(value(slot, 1), slot); }

    /// Write what was evaluated for one slot; direction: what angles are measured to.
    void write(int slot, const ObservedArrays& to, const double* direction) {
        const Plan& plan = machine_.plan();
        const Index n_layers = plan.n_layers();
        if (to.margin != nullptr) *to.margin = read(value(slot, 2), slot);
        if (to.wants_direction()) write_direction(slot, to, direction);
        if (to.wants_layer_vectors()) write_layer_vectors(slot, to);
        Index at = 3;
        if (to.layer_norms != nullptr) {
            for (Index l = 0; l < n_layers; ++l)
                to.layer_norms[l] = read(value(slot, at + l), slot);
        }
        at += n_layers;
        if (to.imbalance != nullptr) {
            for (Index l = 0; l + 1 < n_layers; ++l)
                to.imbalance[l] = read(value(slot, at + l), slot);
        }
        at = singular_values_at();
        if (to.singular_values != nullptr) {
            for (Index i = 0; i < singular_values_.count(); ++i) {
                sorted_[static_cast<std::size_t>(i)] = read(value(slot, at + i), slot);
            }
            std::sort(sorted_.begin(), sorted_.end(), [](double a, double b) { return a > b; });
            std::copy(sorted_.begin(), sorted_.end(), to.singular_values);
        }
        if (to.product != nullptr) machine_.get_matrix(slot, plan.product, to.product);
    }

private:
    void write_direction(int slot, const ObservedArrays& to, const double* direction) {
        machine_.get_matrix(slot, machine_.plan().product, product_.data());
        const auto n = static_cast<Index>(product_.size());
        if (direction == nullptr) {
            *to.norm = norm_of(product_.data(), n);
            return;
        }
        const Direction found = direction_of(product_.data(), direction, n);
        if (to.angle != nullptr) *to.angle = found.angle;
        if (to.log_tan_half_angle != nullptr) *to.log_tan_half_angle = found.log_tan_half_angle;
        if (to.norm != nullptr) *to.norm = found.norm;
    }
    void write_layer_vectors(int slot, const ObservedArrays& to) {
        std::vector<std::vector<double>> layers;
        std::vector<const double*> pointers;
        for (std::size_t l = 0; l < shapes_.size(); ++l) {
            layers.emplace_back(static_cast<std::size_t>(shapes_[l].first * shapes_[l].second));
            machine_.get_matrix(slot, machine_.plan().weights[l], layers.back().data());
            pointers.push_back(layers.back().data());
        }
        LayerVectors(shapes_).write(pointers, to.layer_singular_ratio, to.layer_alignment);
    }
    template <class Pulse>
    bool evaluate_singular_values(std::size_t first, std::size_t last, Pulse&& pulse) {
        const Index n = singular_values_.count();
        const int id = machine_.plan().product;
        const auto target = [&](std::size_t g) { return groups_[g] + singular_values_at(); };
        std::size_t g = first;
        if constexpr (packed) {
            for (; g + 1 < last; g += 2) {
                const Entries<V> a = view(static_cast<int>(g), id);
                const Entries<V> b = view(static_cast<int>(g) + 1, id);
                const Twin<V>* const found = twin_values_.of(
                    [&](Index i, Index j) { return Twin<V>{a(i, j), b(i, j)}; }, pulse);
                for (Index i = 0; i < n; ++i) {
                    target(g)[i] = found[i].a;
                    target(g + 1)[i] = found[i].b;
                }
            }
        }
        for (; g < last; ++g) {
            const Entries<V> a = view(static_cast<int>(g), id);
            std::copy_n(singular_values_.of([&](Index i, Index j) { return a(i, j); }, pulse), n,
                        target(g));
        }
        return !pulse();
    }
    /// Where the singular values stand among a group's values.
    Index singular_values_at() const {
        const Index n_layers = machine_.plan().n_layers();
        return 3 + n_layers + std::max<Index>(n_layers - 1, 0);
    }
    static void put(V& x, int slot, double value) { set_lane(x, slot % lanes, value); }
    static double read(const V& x, int slot) { return get_lane(x, slot % lanes); }
    const V& value(int slot, Index at) const {
        return groups_[static_cast<std::size_t>(slot / lanes)][at];
    }
    Entries<V> view(int group, int id) const {
        const Plan::Matrix& shape = machine_.plan().matrices[static_cast<std::size_t>(id)];
        const auto m = machine_.view(group, id);
        return {m.data, m.ld, shape.rows, shape.cols};
    }
    V gradient_squares(int group, const Entries<V>& gradient, const Entries<V>& weight) const {
        const V decay = machine_.decay(group);
        V total{};
        for (Index i = 0; i < gradient.rows; ++i) {
            V row{};
            for (Index j = 0; j < gradient.cols; ++j) {
                const V g = fma(decay, weight(i, j), gradient(i, j));
                row = fma(g, g, row);
            }
            total = total + row;
        }
        return total;
    }

    Machine machine_;
    const double* shared_cross_;
    Index cross_size_ = 0;
    SingularValues<V> singular_values_;
    SingularValues<Twin<V>> twin_values_;
    Arena<V> values_, cross_, power_;
    std::vector<V*> groups_;
    std::vector<double> sorted_, product_;
    std::vector<std::pair<Index, Index>> shapes_;  // of the weights
};

}  // namespace linnet
