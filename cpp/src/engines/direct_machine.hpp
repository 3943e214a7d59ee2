// Runs the operations of a plan for one run, with register-blocked kernels and, for large products,
// Eigen's.
#pragma once

#include <vector>

#include "base/arena.hpp"
#include "engines/direct_algebra.hpp"
#include "engines/pattern_algebra.hpp"
#include "engines/steering.hpp"

namespace linnet {

/// Products with at least this many multiply-adds go to Eigen, whose packing pays from here on. It
/// allocates its packing buffers in every product; the kernels below that size never allocate.
inline constexpr double eigen_from = 448.0 * 448.0 * 448.0;

/// Multiply-adds between two looks at the pulse: about a millisecond's.
inline constexpr double pulse_every = 2e7;

/// A product done by Eigen; false if `pulse` asked to stop half-way. Defined for double and float.
template <class T>
bool eigen_product(Product kind, const DirectOperands<T>& o, T* scratch,
                   const std::function<bool()>& pulse);

template <class T>
class DirectMachine {
public:
    static constexpr bool packed = false;
    static constexpr int lanes = native_lanes<T>;

    DirectMachine(const Plan& plan, bool decay, Steering<T> steering = {})
        : plan_(plan),
          steering_(std::move(steering)) {
        const auto vectors = [](Index n) { return (n + lanes - 1) / lanes; };
        // An even number of vectors a row would put long columns into few cache sets.
        const auto ld = [&](Index cols) {
            return (cols >= 64 ? vectors(cols) | 1 : vectors(cols)) * lanes;
        };
        const auto full = [&](Index rows, Index cols) { return vectors(rows) * lanes * ld(cols); };
        const std::vector<Index> offsets =
            plan.storage_offsets([&](const Plan::Matrix& m) { return full(m.rows, m.cols); });
        Index largest = 0;
        for (const Plan::Matrix& m : plan.matrices) {
            largest = std::max({largest, full(m.rows, m.cols), full(m.cols, m.rows)});
        }
        const Index n_in = plan.n_inputs();
        const Index n_out = plan.n_outputs();
        const Index cov_offset = offsets.back();
        const bool has_moments = plan.has_moments();
        const Index cross_offset = cov_offset + (has_moments ? full(n_in, n_in) : 0);
        const Index scratch_offset = cross_offset + (has_moments ? full(n_out, n_in) : 0);
        const Index rate_offset = scratch_offset + largest;
        // What lasts comes first in a plan, so it lies side by side.
        weights_size_ = offsets[static_cast<std::size_t>(plan.n_layers())];
        backup_ = Arena<T>(persistent_size());
        memory_ = Arena<T>(rate_offset + 2 * plan.n_layers() + ld(n_in));
        for (const Plan::Matrix& m : plan.matrices) {
            matrices_.push_back(
                {memory_.data() + offsets[static_cast<std::size_t>(m.storage)], ld(m.cols)});
        }
        cov_ = {memory_.data() + cov_offset, ld(n_in)};
        cross_ = {memory_.data() + cross_offset, ld(n_in)};
        scratch_ = memory_.data() + scratch_offset;
        rates_ = memory_.data() + rate_offset;
        for (const Operation& operation : plan.operations) {
            const Plan::Matrix& c = plan.matrices[static_cast<std::size_t>(operation.c)];
            const bool residual =
                operation.kind == Product::residual || operation.kind == Product::residual_diagonal;
            Call call{operation.kind,
                      {},
                      {},
                      Blocks(c.rows, direct_tile_rows),
                      Blocks(vectors(c.cols), direct_tile_vectors),
                      0,
                      false,
                      nullptr,
                      0,
                      0,
                      0,
                      -1,
                      operation.layer};
            if (is_pattern(operation.kind)) {
                const auto ld_of = [&](int id) { return id < 0 ? 0 : matrix(id).ld; };
                call.pattern = static_cast<int>(patterns_.size());
                patterns_.emplace_back(plan, operation, ld_of(operation.c), ld_of(operation.a),
                                       ld_of(operation.b));
            }
            DirectOperands<T>& o = call.operands;
            o.c = matrix(operation.c).data;
            o.ldc = matrix(operation.c).ld;
            o.a = matrix(operation.a).data;
            o.lda = matrix(operation.a).ld;
            if (residual) {
                o.b = cov_.data;
                o.ldb = cov_.ld;
                o.subtract = cross_.data;
            } else if (operation.b >= 0) {
                o.b = matrix(operation.b).data;
                o.ldb = matrix(operation.b).ld;
            }
            o.step = rates_ + operation.layer;
            o.decay = decay ? rates_ + plan.n_layers() + operation.layer : nullptr;
            o.factor = static_cast<T>(operation.factor);
            o.rows = c.rows;
            o.cols = c.cols;
            o.inner = plan.inner(operation);
            // Whether a product is large must not depend on whether input_cov happens to be
            // diagonal.
            const Index inner = operation.kind == Product::residual_diagonal ? n_in : o.inner;
            call.work = is_pattern(operation.kind)
                            ? plan.multiply_adds(operation)
                            : static_cast<double>(o.rows) * static_cast<double>(o.cols) *
                                  static_cast<double>(inner);
            if (operation.kind == Product::residual_by_loss ||
                operation.kind == Product::curvature_by_loss)
                call.work = steering_.work;
            const bool is_product =
                !is_elementwise(operation.kind) || operation.kind == Product::residual_diagonal;
            call.by_eigen = is_product && call.work >= eigen_from;
            if (!call.by_eigen &&
                (operation.kind == Product::store_nt || operation.kind == Product::update_nt)) {
                // The kernels want rows of B: transpose it first.
                const Plan::Matrix& b = plan.matrices[static_cast<std::size_t>(operation.b)];
                call.transpose_from = o.b;
                call.transpose_rows = b.rows;
                call.transpose_cols = b.cols;
                call.transpose_ld = o.ldb;
                o.b = scratch_;
                o.ldb = ld(b.rows);
            }
            for (Index large_row = 0; large_row < 2; ++large_row) {
                for (Index large_vector = 0; large_vector < 2; ++large_vector) {
                    const Index rows = call.rows.small + large_row;
                    const Index width = call.vectors.small + large_vector;
                    const bool exists = rows <= direct_tile_rows && width <= direct_tile_vectors;
                    call.kernels[large_row][large_vector] =
                        exists ? direct_kernel<T>(operation.kind, rows, width) : nullptr;
                }
            }
            calls_.push_back(call);
        }
        find_passes();
        if (plan.identity >= 0) {
            const View identity = matrix(plan.identity);
            for (Index i = 0; i < shape(plan.identity).rows; ++i)
                identity.data[i * identity.ld + i] = T{1};
        }
        pulse_ = [] { return false; };
    }

    struct View {
        T* data;
        Index ld;
    };
    /// How many layers are updated in the sweep that passes errors back?
    int n_passes() const { return passes_among(calls_); }

    int n_slots() const { return 1; }
    const Plan& plan() const { return plan_; }
    View view(int /*group*/, int id) const { return matrix(id); }
    T decay(int /*group*/, Index layer) const { return rates_[plan_.n_layers() + layer]; }
    View matrix(int id) const { return matrices_[static_cast<std::size_t>(id)]; }

    /// All weights, side by side and padded.
    T* weights(int /*group*/) const { return matrix(plan_.weights.front()).data; }
    Index weights_size() const { return weights_size_; }
    /// Let a slope plan write the gradients to `to`, laid out as the weights are.
    void set_gradients(int /*group*/, T* to) {
        for (std::size_t l = 0; l < plan_.gradients.size(); ++l) {
            for (const int operation : plan_.gradient_operations[l]) {
                calls_[static_cast<std::size_t>(operation)].operands.c =
                    to + (matrix(plan_.weights[l]).data - weights(0));
            }
        }
    }

    Steering<T>& steering() { return steering_; }
    const Steering<T>& steering() const { return steering_; }

    void set_matrix(int /*slot*/, int id, const T* dense) { fill(matrix(id), shape(id), dense); }
    void get_matrix(int /*slot*/, int id, T* dense) const { unpad(matrix(id), shape(id), dense); }
    /// Take the weights of another machine for the same widths.
    template <class Other>
    void copy_weights(int /*first_slot*/, const Other& other) {
        for (std::size_t l = 0; l < plan_.weights.size(); ++l) {
            const auto from = other.matrix(other.plan().weights[l]);
            const View to = matrix(plan_.weights[l]);
            const Plan::Matrix& s = shape(plan_.weights[l]);
            for (Index i = 0; i < s.rows; ++i) {
                for (Index j = 0; j < s.cols; ++j)
                    to.data[i * to.ld + j] = static_cast<T>(from.data[i * from.ld + j]);
            }
        }
    }
    void set_moments(int /*slot*/, const double* cov, const double* cross) {
        const Index n_in = plan_.n_inputs();
        const Plan::Matrix cov_shape{n_in, n_in, 0};
        const Plan::Matrix cross_shape{plan_.n_outputs(), n_in, 0};
        fill(cov_, cov_shape, cov);
        fill(cross_, cross_shape, cross);
        for (Index j = 0; j < n_in; ++j) diagonal()[j] = static_cast<T>(cov[j * n_in + j]);
    }
    /// Step sizes and weight decays of all layers.
    template <class Steps>
    void set_rates(int /*slot*/, const Steps* steps, const double* decays) {
        for (Index l = 0; l < plan_.n_layers(); ++l) {
            rates_[l] = static_cast<T>(steps[l]);
            rates_[plan_.n_layers() + l] = static_cast<T>(decays[l]);
        }
    }
    /// Asked between parts of what takes long. Once it has asked to stop nothing here is of any use.
    void set_pulse(std::function<bool()> pulse) { pulse_ = std::move(pulse); }

    /// Operations first ... last - 1, once; false if the pulse asked to stop.
    bool run(std::size_t first, std::size_t last, std::size_t /*first_group*/ = 0,
             std::size_t /*last_group*/ = 1) {
        for (std::size_t k = first; k < last; ++k) {
            const Call& call = calls_[k];
            work_ += call.work;
            if (work_ > pulse_every) {
                work_ = 0;
                if (pulse_()) return false;
            }
            if (call.pass != nullptr && k + 1 < last) {
                ++k;
                work_ += calls_[k].work;
                call.pass(call.operands, calls_[k].operands);
            } else if (is_steered(call.kind)) {
                run_steered(call.kind, call.operands, call.layer);
            } else if (call.pattern >= 0) {
                const DirectOperands<T>& o = call.operands;
                patterns_[static_cast<std::size_t>(call.pattern)](o.c, o.a, o.b, o.step, o.decay);
            } else if (call.kind == Product::update_by) {
                direct_update_by(call.operands);
            } else if (call.kind == Product::combine || call.kind == Product::copy) {
                direct_combine(call.operands, call.kind == Product::copy);
            } else if (call.kind == Product::residual_diagonal) {
                DirectOperands<T> o = call.operands;
                o.b = diagonal();
                direct_residual_diagonal(o, !call.by_eigen);
            } else if (call.by_eigen) {
                if (!eigen_product(call.kind, call.operands, scratch_, pulse_)) return false;
            } else {
                product(call);
            }
        }
        return true;
    }
    bool step(Index n_steps) {
        for (Index s = 0; s < n_steps; ++s) {
            if (!run(0, calls_.size())) return false;
            steering_.advance();
        }
        return true;
    }

    void checkpoint() {
        std::memcpy(backup_.data(), memory_.data(),
                    static_cast<std::size_t>(persistent_size()) * sizeof(T));
    }
    void get_checkpoint(int /*slot*/, int id, T* dense) const {
        const View m = matrix(id);
        unpad({backup_.data() + (m.data - memory_.data()), m.ld}, shape(id), dense);
    }
    bool find_non_finite(std::vector<char>& bad) const {
        T check{};
        for (const int id : plan_.weights) {
            const View m = matrix(id);
            const Plan::Matrix& s = shape(id);
            for (Index i = 0; i < s.rows; ++i) {
                T row{};
                for (Index j = 0; j < s.cols; ++j) row = fma(m.data[i * m.ld + j], T{0}, row);
                check += row;
            }
        }
        bad[0] = !(check == T{0});
        return bad[0] != 0;
    }

private:
    struct Call {
        Product kind;
        DirectOperands<T> operands;
        DirectKernel<T> kernels[2][2];  // [large row block][large block of vectors]
        Blocks rows, vectors;
        double work;  // multiply-adds
        bool by_eigen;
        const T* transpose_from;
        Index transpose_rows, transpose_cols, transpose_ld;
        int pattern;  // which one; -1: none
        int layer;
        PassBack<T> pass = nullptr;  // does this and the next
    };

    /// Where a layer is updated right after errors have passed back through it, that is one sweep.
    void find_passes() {
        for (std::size_t k = 0; k + 1 < calls_.size(); ++k) {
            Call& back = calls_[k];
            const Call& update = calls_[k + 1];
            if (back.kind == Product::store_nt && update.kind == Product::update_tn &&
                !back.by_eigen && !update.by_eigen && back.transpose_from == update.operands.c &&
                back.operands.a == update.operands.b && back.operands.rows <= most_errors)
                back.pass = pass_back<T>(back.operands.rows);
        }
    }

    void run_steered(Product kind, const DirectOperands<T>& o, int layer) {
        const Entries<T> product{o.a, o.lda, o.rows, o.cols};
        if (kind == Product::residual_by_loss) {
            steering_.loss->residual(0, product, Places<T>{o.c, o.ldc, o.rows, o.cols});
            return;
        }
        if (kind == Product::curvature_by_loss) {
            steering_.loss->curvature(0, product, Entries<T>{o.b, o.ldb, o.rows, o.cols},
                                      Places<T>{o.c, o.ldc, o.rows, o.cols});
            return;
        }
        if (kind == Product::update_stored) {
            steering_.update->apply(0, Places<T>{o.c, o.ldc, o.rows, o.cols}, const_cast<T*>(o.a),
                                    weights_size_, o.step, o.decay);
            return;
        }
        const Places<T> weights{o.c, o.ldc, o.rows, o.cols};
        if (kind == Product::add_square) {
            steering_.ascent->add_square(0, Entries<T>{o.a, o.lda, o.rows, o.cols}, layer);
            return;
        }
        if (kind == Product::climb) {
            steering_.ascent->climb(0, weights, o.a, const_cast<T*>(o.b));
            return;
        }
        if (kind == Product::go_back) {
            steering_.ascent->go_back(weights, o.a);
            return;
        }
        if (kind == Product::add_noise) {
            steering_.noise->add(0, Places<T>{o.c, o.ldc, o.rows, o.cols}, layer, *o.step);
            return;
        }
        steering_.set_steps(0, product, Entries<T>{o.c, o.ldc, o.rows, o.cols}, rates_);
    }
    void product(const Call& call) {
        if (call.transpose_from != nullptr) {
            transpose(call.transpose_from, call.transpose_ld, call.transpose_rows,
                      call.transpose_cols, scratch_, call.operands.ldb);
        }
        Index col = 0;
        for (Index j = 0; j < call.vectors.count; ++j) {
            Index row = 0;
            for (Index i = 0; i < call.rows.count; ++i) {
                call.kernels[i < call.rows.n_large][j < call.vectors.n_large](call.operands, row,
                                                                              col);
                row += call.rows.size(i);
            }
            col += call.vectors.size(j) * lanes;
        }
    }
    /// Of the weights and the memories.
    Index persistent_size() const { return weights_size_ * (plan_.n_memories() + 1); }
    const Plan::Matrix& shape(int id) const { return plan_.matrices[static_cast<std::size_t>(id)]; }
    T* diagonal() const { return rates_ + 2 * plan_.n_layers(); }
    template <class From>
    void fill(View to, const Plan::Matrix& shape, const From* dense) const {
        const Index rows_between = std::max<Index>(1, (1 << 20) / std::max<Index>(1, shape.cols));
        for (Index i = 0; i < shape.rows; ++i) {
            // New memory takes its time, too.
            if (i > 0 && i % rows_between == 0 && pulse_()) return;
            for (Index j = 0; j < shape.cols; ++j)
                to.data[i * to.ld + j] = static_cast<T>(dense[i * shape.cols + j]);
        }
    }

    static void unpad(View from, const Plan::Matrix& shape, T* dense) {
        for (Index i = 0; i < shape.rows; ++i)
            std::memcpy(dense + i * shape.cols, from.data + i * from.ld,
                        static_cast<std::size_t>(shape.cols) * sizeof(T));
    }

    Plan plan_;
    Steering<T> steering_;
    Index weights_size_ = 0;
    Arena<T> memory_, backup_;
    std::vector<View> matrices_;
    View cov_{}, cross_{};
    T* scratch_ = nullptr;
    T* rates_ = nullptr;
    std::vector<Call> calls_;
    std::vector<PatternCall<T>> patterns_;
    std::function<bool()> pulse_;
    double work_ = 0;  // since the pulse was asked
};

}  // namespace linnet
