// Runs the operations of a plan for groups of runs, one run per SIMD lane.
#pragma once

#include <algorithm>
#include <vector>

#include "base/arena.hpp"
#include "engines/fused.hpp"
#include "engines/lane_algebra.hpp"
#include "engines/lane_passes.hpp"
#include "engines/pattern_algebra.hpp"
#include "engines/separable.hpp"
#include "engines/steering.hpp"

namespace linnet {

/// n_groups packs of runs side by side. Groups take turns within every operation, so that one hides
/// the latency of another; the bits of a lane do not depend on it.
template <class T>
class LaneMachine {
public:
    static constexpr bool packed = true;
    static constexpr int lanes = native_lanes<T>;
    using V = Pack<T, lanes>;
    struct View {
        V* data;
        Index ld;
    };

    /// shared_cov, shared_cross: moments that all runs have in common, row-major; null: one set per
    /// lane. steering: of n_groups * lanes slots.
    LaneMachine(const Plan& plan, int n_groups, const T* shared_cov, const T* shared_cross,
                bool decay, Steering<V> steering = {})
        : plan_(plan),
          n_groups_(n_groups),
          shared_(shared_cov != nullptr || !plan.has_moments()),
          steering_(std::move(steering)) {
        const std::vector<Index> offsets = plan.storage_offsets(
            [](const Plan::Matrix& matrix) { return matrix.rows * matrix.cols; });
        const Index n_in = plan.n_inputs();
        const Index n_out = plan.n_outputs();
        const Index cov_offset = offsets.back();
        const Index cross_offset = cov_offset + (shared_ ? 0 : n_in * n_in);
        const Index rate_offset = cross_offset + (shared_ ? 0 : n_out * n_in);
        const Index group_size = rate_offset + 2 * plan.n_layers();
        // What lasts comes first in a plan, so a group's lies side by side.
        for (const int id : plan.weights) weights_size_ += size(id);
        backup_ = Arena<V>(persistent_size() * n_groups);
        memory_ = Arena<V>(group_size * n_groups);
        for (int g = 0; g < n_groups; ++g) {
            V* const base = memory_.data() + g * group_size;
            for (const Plan::Matrix& matrix : plan.matrices) {
                matrices_.push_back(base + offsets[static_cast<std::size_t>(matrix.storage)]);
            }
            covs_.push_back(base + cov_offset);
            crosses_.push_back(base + cross_offset);
            rates_.push_back(base + rate_offset);
        }
        for (const Operation& operation : plan.operations) {
            const Plan::Matrix& c = plan.matrices[static_cast<std::size_t>(operation.c)];
            const bool is_outer =
                (operation.kind == Product::update_tn || operation.kind == Product::update_nt) &&
                plan.inner(operation) == 1;
            const bool elementwise = is_elementwise(operation.kind);
            const bool residual =
                operation.kind == Product::residual || operation.kind == Product::residual_diagonal;
            Call call{operation.kind,
                      {},
                      Blocks(c.rows, elementwise || is_outer ? c.rows : lane_tile),
                      Blocks(c.cols, elementwise               ? c.cols
                                     : c.rows == 1 || is_outer ? lane_row_tile
                                                               : lane_tile),
                      -1,
                      operation.layer};
            if (is_pattern(operation.kind)) {
                const auto ld = [&](int id) {
                    return id < 0 ? 0 : plan.matrices[static_cast<std::size_t>(id)].cols;
                };
                call.pattern = static_cast<int>(patterns_.size());
                patterns_.emplace_back(plan, operation, ld(operation.c), ld(operation.a),
                                       ld(operation.b));
            }
            const bool whole = call.rows.count == 1 && call.cols.count == 1;
            for (Index large_row = 0; large_row < 2; ++large_row) {
                for (Index large_col = 0; large_col < 2; ++large_col) {
                    const Index rows = elementwise ? 1 : call.rows.small + large_row;
                    const Index cols = elementwise ? 1 : call.cols.small + large_col;
                    if (is_outer) {
                        call.kernels[large_row][large_col] =
                            cols <= lane_row_tile ? lane_outer_kernel<V>(cols) : nullptr;
                        continue;
                    }
                    const Index most_cols = rows == 1 ? lane_row_tile : lane_tile;
                    const bool exists = rows <= lane_tile && cols <= most_cols;
                    call.kernels[large_row][large_col] =
                        exists ? lane_kernel<V>(operation.kind, shared_, rows, cols,
                                                whole ? plan.inner(operation) : 0)
                               : nullptr;
                }
            }
            for (int g = 0; g < n_groups; ++g) {
                LaneOperands<V> o{};
                o.c = matrix(g, operation.c);
                o.a = matrix(g, operation.a);
                if (residual) {
                    o.b = shared_ ? static_cast<const void*>(shared_cov)
                                  : covs_[static_cast<std::size_t>(g)];
                    o.subtract = shared_ ? static_cast<const void*>(shared_cross)
                                         : crosses_[static_cast<std::size_t>(g)];
                } else if (operation.b >= 0) {
                    o.b = matrix(g, operation.b);
                }
                o.step = rates_[static_cast<std::size_t>(g)] + operation.layer;
                o.decay =
                    decay ? rates_[static_cast<std::size_t>(g)] + plan.n_layers() + operation.layer
                          : nullptr;
                o.factor = static_cast<T>(operation.factor);
                o.rows = c.rows;
                o.cols = c.cols;
                o.inner = plan.inner(operation);
                operands_.push_back(o);
            }
            calls_.push_back(call);
        }
        for (std::size_t k = 0; k + 1 < calls_.size(); ++k) {
            const auto first_of = [&](std::size_t call) {
                return operands_[call * static_cast<std::size_t>(n_groups)];
            };
            calls_[k].pass =
                lane_pass(calls_[k].kind, first_of(k), calls_[k + 1].kind, first_of(k + 1));
        }
        const std::vector<int> order = shared_ ? separable_order(plan) : std::vector<int>{};
        for (int g = 0; g < n_groups && !order.empty(); ++g) {
            SeparableOperands<V> o{};
            V* const rates = rates_[static_cast<std::size_t>(g)];
            for (std::size_t l = 0; l < order.size(); ++l) {
                o.weights[l] = matrix(g, order[l]);
                const auto place = std::find(plan.weights.begin(), plan.weights.end(), order[l]);
                o.steps[l] = rates + (place - plan.weights.begin());
                o.decays[l] = decay ? o.steps[l] + plan.n_layers() : nullptr;
            }
            o.cov = shared_cov;
            o.cross = shared_cross;
            o.n_inputs = n_in;
            separable_.push_back(o);
        }
        products_.reserve(static_cast<std::size_t>(n_groups));
        places_.reserve(static_cast<std::size_t>(n_groups));
        fused_step_ = fused_step_of<V>(fused_width(plan), shared_);
        for (int g = 0; g < n_groups && fused_step_ != nullptr; ++g) {
            V* const rates = rates_[static_cast<std::size_t>(g)];
            FusedOperands<V> o{};
            o.lower = matrix(g, plan.weights[0]);
            o.upper = matrix(g, plan.weights[1]);
            o.lower_step = rates;
            o.upper_step = rates + 1;
            o.lower_decay = decay ? rates + plan.n_layers() : nullptr;
            o.upper_decay = decay ? rates + plan.n_layers() + 1 : nullptr;
            o.cov =
                shared_ ? static_cast<const void*>(shared_cov) : covs_[static_cast<std::size_t>(g)];
            o.cross = shared_ ? static_cast<const void*>(shared_cross)
                              : crosses_[static_cast<std::size_t>(g)];
            fused_.push_back(o);
        }
        for (int g = 0; g < n_groups && plan.identity >= 0; ++g) {
            const Index extent = plan.matrices[static_cast<std::size_t>(plan.identity)].rows;
            for (Index i = 0; i < extent; ++i)
                matrix(g, plan.identity)[i * extent + i] = broadcast<V>(1);
        }
    }

    /// Does a step go by one of the ways that leave the list of operations aside?
    bool is_fused() const { return !fused_.empty(); }
    bool is_separable() const { return !separable_.empty(); }
    /// How many layers are updated in the sweep that passes errors back?
    int n_passes() const { return passes_among(calls_); }

    int n_slots() const { return n_groups_ * lanes; }
    const Plan& plan() const { return plan_; }
    View view(int group, int id) const {
        return {matrix(group, id), plan_.matrices[static_cast<std::size_t>(id)].cols};
    }
    V decay(int group, Index layer) const {
        return rates_[static_cast<std::size_t>(group)][plan_.n_layers() + layer];
    }
    V* matrix(int group, int id) const {
        return matrices_[static_cast<std::size_t>(group) * plan_.matrices.size() +
                         static_cast<std::size_t>(id)];
    }

    /// All weights of a group, side by side.
    V* weights(int group) const { return matrix(group, plan_.weights.front()); }
    Index weights_size() const { return weights_size_; }
    /// Let a slope plan write the gradients of a group to `to`, laid out as the weights are.
    void set_gradients(int group, V* to) {
        for (std::size_t l = 0; l < plan_.gradients.size(); ++l) {
            for (const int operation : plan_.gradient_operations[l])
                operands_[static_cast<std::size_t>(operation * n_groups_ + group)].c = to;
            to += size(plan_.gradients[l]);
        }
    }

    Steering<V>& steering() { return steering_; }
    const Steering<V>& steering() const { return steering_; }

    void set_matrix(int slot, int id, const T* dense) {
        scatter(slot, matrix(slot / lanes, id), size(id), dense);
    }
    void get_matrix(int slot, int id, T* dense) const {
        const V* const from = matrix(slot / lanes, id);
        for (Index i = 0; i < size(id); ++i) dense[i] = from[i][slot % lanes];
    }
    /// Take the weights of a group of another machine for the same widths; it may have wider lanes.
    template <class Other>
    void copy_weights(int first_slot, const Other& other) {
        constexpr int ratio = Other::lanes / lanes;  // groups of this machine to one of the other
        const int from_group = first_slot / Other::lanes;
        for (std::size_t l = 0; l < plan_.weights.size(); ++l) {
            const int to_id = plan_.weights[l];
            const auto* const from = other.matrix(from_group, other.plan().weights[l]);
            for (int part = 0; part < ratio; ++part) {
                V* const to = matrix(from_group * ratio + part, to_id);
                for (Index i = 0; i < size(to_id); ++i) {
                    if constexpr (ratio == 1) {
                        to[i] = from[i];
                    } else {
                        for (int r = 0; r < lanes; ++r)
                            to[i][r] = static_cast<T>(from[i][part * lanes + r]);
                    }
                }
            }
        }
    }
    void set_moments(int slot, const double* cov, const double* cross) {
        if (shared_) return;
        const auto g = static_cast<std::size_t>(slot / lanes);
        scatter(slot, covs_[g], plan_.n_inputs() * plan_.n_inputs(), cov);
        scatter(slot, crosses_[g], plan_.n_outputs() * plan_.n_inputs(), cross);
    }
    /// Step sizes and weight decays of all layers.
    template <class Steps>
    void set_rates(int slot, const Steps* steps, const double* decays) {
        V* const rates = rates_[static_cast<std::size_t>(slot / lanes)];
        scatter(slot, rates, plan_.n_layers(), steps);
        scatter(slot, rates + plan_.n_layers(), plan_.n_layers(), decays);
    }

    /// Operations first ... last - 1 once, for some of the groups; they are too short to be
    /// interrupted.
    bool run(std::size_t first, std::size_t last, std::size_t first_group, std::size_t last_group) {
        for (std::size_t k = first; k < last; ++k) {
            const Call& call = calls_[k];
            const LaneOperands<V>* const operands =
                operands_.data() + k * static_cast<std::size_t>(n_groups_);
            if (call.kind == Product::residual_by_loss) {
                residuals(operands, first_group, last_group);
                continue;
            }
            if (call.pass != nullptr && k + 1 < last) {
                for (std::size_t g = first_group; g < last_group; ++g)
                    call.pass(operands[g], operands[static_cast<std::size_t>(n_groups_) + g]);
                ++k;
                continue;
            }
            if (is_steered(call.kind)) {
                for (std::size_t g = first_group; g < last_group; ++g)
                    run_steered(call.kind, static_cast<int>(g), operands[g], call.layer);
                continue;
            }
            if (call.pattern >= 0) {
                const PatternCall<T>& pattern = patterns_[static_cast<std::size_t>(call.pattern)];
                for (std::size_t g = first_group; g < last_group; ++g) {
                    const LaneOperands<V>& o = operands[g];
                    pattern(o.c, o.a, static_cast<const V*>(o.b), o.step, o.decay);
                }
                continue;
            }
            if (call.rows.count == 1 && call.cols.count == 1) {
                for (std::size_t g = first_group; g < last_group; ++g)
                    call.kernels[0][0](operands[g], 0, 0);
                continue;
            }
            for (std::size_t g = first_group; g < last_group; ++g) {
                Index row = 0;
                for (Index i = 0; i < call.rows.count; ++i) {
                    Index col = 0;
                    for (Index j = 0; j < call.cols.count; ++j) {
                        call.kernels[i < call.rows.n_large][j < call.cols.n_large](operands[g], row,
                                                                                   col);
                        col += call.cols.size(j);
                    }
                    row += call.rows.size(i);
                }
            }
        }
        return true;
    }
    bool step(Index n_steps) {
        for (const SeparableOperands<V>& operands : separable_)
            separable_steps(operands, plan_.weights.size(), n_steps);
        if (!separable_.empty()) return true;
        for (Index s = 0; s < n_steps && !fused_.empty(); ++s) {
            // Groups take turns, so that one hides the latency of another.
            for (const FusedOperands<V>& operands : fused_) fused_step_(operands);
        }
        if (!fused_.empty()) return true;
        for (Index s = 0; s < n_steps; ++s) {
            run(0, calls_.size(), 0, static_cast<std::size_t>(n_groups_));
            steering_.advance();
        }
        return true;
    }

    /// Remember what lasts of all slots, to come back to with get_checkpoint.
    void checkpoint() {
        for (int g = 0; g < n_groups_; ++g) {
            std::memcpy(static_cast<void*>(backup_.data() + g * persistent_size()),
                        matrix(g, plan_.weights.front()),
                        static_cast<std::size_t>(persistent_size()) * sizeof(V));
        }
    }
    void get_checkpoint(int slot, int id, T* dense) const {
        const V* const from = backup_.data() + (slot / lanes) * persistent_size() +
                              (matrix(0, id) - matrix(0, plan_.weights.front()));
        for (Index i = 0; i < size(id); ++i) dense[i] = from[i][slot % lanes];
    }
    /// bad[slot] = are any of its weights infinite or NaN? Returns whether there is any such slot.
    bool find_non_finite(std::vector<char>& bad) const {
        bool found = false;
        for (int g = 0; g < n_groups_; ++g) {
            const V* const weights = matrix(g, plan_.weights.front());
            V checks[4] = {};
            for (Index i = 0; i < weights_size_; ++i)
                checks[i % 4] = fma(weights[i], V{}, checks[i % 4]);
            const V check = (checks[0] + checks[1]) + (checks[2] + checks[3]);
            for (int r = 0; r < lanes; ++r) {
                const bool is_bad = !(check[r] == T{0});
                bad[static_cast<std::size_t>(g * lanes + r)] = is_bad;
                found = found || is_bad;
            }
        }
        return found;
    }

private:
    struct Call {
        Product kind;
        LaneKernel<V> kernels[2][2];  // [large row block][large column block]
        Blocks rows, cols;
        int pattern;  // which one; -1: none
        int layer;
        LanePass<V> pass = nullptr;  // does this and the next
    };
    void residuals(const LaneOperands<V>* operands, std::size_t first_group,
                   std::size_t last_group) {
        products_.clear();
        places_.clear();
        for (std::size_t g = first_group; g < last_group; ++g) {
            const LaneOperands<V>& o = operands[g];
            products_.push_back({o.a, o.cols, o.rows, o.cols});
            places_.push_back({o.c, o.cols, o.rows, o.cols});
        }
        steering_.loss->residuals(static_cast<int>(first_group), static_cast<int>(last_group),
                                  products_.data(), places_.data());
    }
    void run_steered(Product kind, int group, const LaneOperands<V>& o, int layer) {
        const Entries<V> product{o.a, o.cols, o.rows, o.cols};
        if (kind == Product::curvature_by_loss) {
            steering_.loss->curvature(
                group, product, Entries<V>{static_cast<const V*>(o.b), o.cols, o.rows, o.cols},
                Places<V>{o.c, o.cols, o.rows, o.cols});
            return;
        }
        if (kind == Product::update_stored) {
            steering_.update->apply(group, Places<V>{o.c, o.cols, o.rows, o.cols},
                                    const_cast<V*>(o.a), weights_size_, o.step, o.decay);
            return;
        }
        const Places<V> weights{o.c, o.cols, o.rows, o.cols};
        if (kind == Product::add_square) {
            steering_.ascent->add_square(group, Entries<V>{o.a, o.cols, o.rows, o.cols}, layer);
            return;
        }
        if (kind == Product::climb) {
            steering_.ascent->climb(group, weights, o.a,
                                    const_cast<V*>(static_cast<const V*>(o.b)));
            return;
        }
        if (kind == Product::go_back) {
            steering_.ascent->go_back(weights, o.a);
            return;
        }
        if (kind == Product::add_noise) {
            steering_.noise->add(group, Places<V>{o.c, o.cols, o.rows, o.cols}, layer, *o.step);
            return;
        }
        steering_.set_steps(group, product, Entries<V>{o.c, o.cols, o.rows, o.cols},
                            rates_[static_cast<std::size_t>(group)]);
    }
    /// Of the weights and the memories.
    Index persistent_size() const { return weights_size_ * (plan_.n_memories() + 1); }
    Index size(int id) const {
        const Plan::Matrix& m = plan_.matrices[static_cast<std::size_t>(id)];
        return m.rows * m.cols;
    }
    template <class From>
    static void scatter(int slot, V* to, Index count, const From* from) {
        for (Index i = 0; i < count; ++i) to[i][slot % lanes] = static_cast<T>(from[i]);
    }

    Plan plan_;
    int n_groups_;
    bool shared_;
    Steering<V> steering_;
    Index weights_size_ = 0;
    Arena<V> memory_, backup_;
    std::vector<V*> matrices_, covs_, crosses_, rates_;
    std::vector<Call> calls_;
    std::vector<LaneOperands<V>> operands_;
    std::vector<PatternCall<T>> patterns_;
    std::vector<Entries<V>> products_;  // per group, of a residual
    std::vector<Places<V>> places_;
    FusedStep<V> fused_step_ = nullptr;
    std::vector<FusedOperands<V>> fused_;          // per group; empty if the plan is something else
    std::vector<SeparableOperands<V>> separable_;  // per group; empty if the plan is something else
};

}  // namespace linnet
