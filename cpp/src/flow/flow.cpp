// flow(): gradient flow of a batch of runs, each with a step size of its own.
#include <algorithm>
#include <cmath>
#include <utility>

#include "base/dop853.hpp"
#include "base/parallel.hpp"
#include "linnet/train.hpp"
#include "engines/costs.hpp"
#include "runs/batch.hpp"

namespace linnet {

namespace {

constexpr double safety = 0.9;
constexpr double shrink_most = 0.2;
constexpr double grow_most = 6;

/// Columns first ... last - 1 of a row of the table times the slopes, at place e of their blocks; zeros are left out.
template <int row, int first, int last, class V>
inline V combined(const V* slopes, Index stride, Index e) {
    V total{};
    if constexpr (first < last) {
        total = combined<row, first, last - 1>(slopes, stride, e);
        constexpr double coefficient = dop853::table[row][last - 1];
        if constexpr (coefficient != 0)
            total = fma(broadcast<V>(coefficient), slopes[(last - 1) * stride + e], total);
    }
    return total;
}

/// A run on its way.
struct FlowSlot {
    Index run = -1;
    Index record = 0;  ///< the next one to write
    Index n_steps = 0;
    double time = 0;
    double step = -1;  ///< the step to try next; negative: not known yet
    bool refused = false;
};

/// Takes the runs in its slots through time: steps, records by dense output, stop rules, the end.
template <class Machine, class ProbeMachine>
class FlowRunner {
public:
    static constexpr bool packed = Machine::packed;
    static constexpr int lanes = packed ? native_lanes<double> : 1;
    using V = std::conditional_t<packed, Pack<double, native_lanes<double>>, double>;

    FlowRunner(Batch<double>& batch, const Flow& flow, Progress& progress, Pulse& pulse,
               Machine machine, ProbeMachine probe_machine)
        : batch_(batch),
          flow_(flow),
          progress_(progress),
          pulse_(pulse),
          machine_(std::move(machine)),
          probe_(std::move(probe_machine),
                 batch.shared_cross(), batch.has_moments() ? batch.n_out * batch.n_in : 0),
          n_groups_(machine_.n_slots() / lanes),
          size_(machine_.weights_size()),
          stride_(size_ + 3 * native_lanes<double> / lanes),
          slots_(static_cast<std::size_t>(machine_.n_slots())),
          is_new_(static_cast<std::size_t>(n_groups_)),
          memory_(n_groups_ * (n_blocks * stride_ + n_values)) {
        Index largest = std::max(batch.n_in * batch.n_in, batch.n_out * batch.n_in);
        for (Index l = 0; l < batch.n_layers; ++l) largest = std::max(largest, batch.layer_size(l));
        dense_.resize(static_cast<std::size_t>(largest));
        no_rates_.resize(static_cast<std::size_t>(batch.n_layers));
        for (std::vector<int>* list : {&fresh_, &taken_, &due_}) list->reserve(lanes);
        shortened_.resize(slots_.size());
        for (int s = 0; s < machine_.n_slots() && batch.shared_cov() != nullptr; ++s) {
            machine_.set_moments(s, batch.problem.input_cov.data, batch.problem.cross_cov.data);
            probe_.set_moments(s, batch.problem.input_cov.data, batch.problem.cross_cov.data, 0);
        }
    }

    Machine& machine() { return machine_; }
    int n_active() const { return n_active_; }

    /// Put a fresh run into a free slot.
    void load(int slot, Index run) {
        prepare(slot, run);
        for (Index l = 0; l < batch_.n_layers; ++l) set_weights(slot, l, batch_.start(run, l));
        at(slot) = FlowSlot{run, 0, 0, flow_.begin, -1, false};
        ++n_active_;
    }
    /// Go on with a run that another runner has brought to where it is.
    template <class Other>
    void adopt(int slot, const FlowSlot& from, int from_slot, const Other& other) {
        prepare(slot, from.run);
        for (Index l = 0; l < batch_.n_layers; ++l) {
            other.get_weights(from_slot, l, dense_.data());
            set_weights(slot, l, dense_.data());
        }
        at(slot) = from;
        ++n_active_;
    }
    void get_weights(int slot, Index l, double* dense) const {
        for_each_entry(l, [&](Index e, Index flat) { dense[flat] = read(point(slot)[e], slot); });
    }

    /// Train what is in the slots, refilling free ones by `refill(slot)`, until none is left or `enough()`.
    /// False if asked to stop.
    template <class Refill, class Enough>
    bool work(const Refill& refill, const Enough& enough) {
        while (true) {
            // A run may be over as soon as it is loaded.
            for (bool again = true; again;) {
                again = false;
                for (int s = 0; s < machine_.n_slots(); ++s) {
                    if (at(s).run < 0 && refill(s)) again = true;
                }
                if (!begin()) return false;
            }
            if (n_active_ == 0 || enough()) return true;
            for (int group = 0; group < n_groups_; ++group) {
                if (!step(group)) return false;
            }
            if (pulse_()) return false;
        }
    }

    /// Takes the next active slot out; false if there is none.
    bool release(int& slot, FlowSlot& state) {
        for (int s = 0; s < machine_.n_slots(); ++s) {
            if (at(s).run < 0) continue;
            slot = s;
            state = at(s);
            at(s).run = -1;
            --n_active_;
            return true;
        }
        return false;
    }

    /// Let the machines ask whether to stop within long products.
    void set_pulse() {
        machine_.set_pulse([this] { return pulse_(); });
        probe_.machine().set_pulse([this] { return pulse_(); });
    }

private:
    // Blocks of a group, each laid out as the weights: where the run is, where it goes, slopes (gradients, so the flow goes
    // against them), and terms: of stages to come, then of dense output.
    static constexpr Index n_blocks = 2 + dop853::n_dense_stages + dop853::n_dense_terms;
    // After the blocks: rtol, atol, reach, which steps are at most over the growth rate, and speed.
    static constexpr Index n_values = 4;

    FlowSlot& at(int slot) { return slots_[static_cast<std::size_t>(slot)]; }
    V* block(int group, Index which) const {
        return memory_.data() + group * (n_blocks * stride_ + n_values) + which * stride_;
    }
    V* point(int slot) const { return block(slot / lanes, 0); }
    V* slopes(int group) const { return block(group, 2); }
    V* terms(int group) const { return block(group, 2 + dop853::n_dense_stages); }
    V& rtol(int group) const { return block(group, n_blocks)[0]; }
    V& atol(int group) const { return block(group, n_blocks)[1]; }
    V& reach(int group) const { return block(group, n_blocks)[2]; }
    V& speed(int group) const { return block(group, n_blocks)[3]; }

    static double read(const V& x, int slot) { return get_lane(x, slot % lanes); }
    static void put(V& x, int slot, double value) { set_lane(x, slot % lanes, value); }

    /// visit(place in a block, place in the dense matrix) for the entries of a layer, row by row.
    template <class Visit>
    void for_each_entry(Index l, const Visit& visit) const {
        const int id = machine_.plan().weights[static_cast<std::size_t>(l)];
        const Plan::Matrix& shape = machine_.plan().matrices[static_cast<std::size_t>(id)];
        const auto view = machine_.view(0, id);
        const Index first = view.data - machine_.weights(0);
        for (Index i = 0; i < shape.rows; ++i) {
            for (Index j = 0; j < shape.cols; ++j)
                visit(first + i * view.ld + j, i * shape.cols + j);
        }
    }
    void set_weights(int slot, Index l, const double* dense) {
        for_each_entry(l, [&](Index e, Index flat) { put(point(slot)[e], slot, dense[flat]); });
    }
    void prepare(int slot, Index run) {
        is_new_[static_cast<std::size_t>(slot / lanes)] = 1;
        const Problem<double>& problem = batch_.problem;
        const double power = batch_.has_moments() ? batch_.scalar(problem.output_power, run) : 0;
        if (!batch_.has_moments()) machine_.steering().loss->set_run(slot, run, 0);
        probe_.set_run(slot, run);
        if (batch_.shared_moments) {
            probe_.set_power(slot, power);
        } else {
            const double* const cov = problem.input_cov.at(run, problem.run_shape);
            const double* const cross = problem.cross_cov.at(run, problem.run_shape);
            machine_.set_moments(slot, cov, cross);
            probe_.set_moments(slot, cov, cross, power);
        }
        const double decay = batch_.scalar(problem.weight_decay, run);
        machine_.set_rates(slot, no_rates_.data(), decay);
        probe_.machine().set_rates(slot, no_rates_.data(), decay);
        const double relative = batch_.scalar(flow_.rtol, run);
        put(rtol(slot / lanes), slot, relative);
        put(reach(slot / lanes), slot, std::pow(relative / dop853::growth_error, 1.0 / 9));
        put(atol(slot / lanes), slot, batch_.scalar(flow_.atol, run));
    }

    /// slope number `to` <- the gradient at the weights in the machine, at the node of a step that belongs to it; false if
    /// asked to stop.
    template <int to>
    bool evaluate(int group, V step) {
        const auto g = static_cast<std::size_t>(group);
        V* const slope = slopes(group) + to * stride_;
        machine_.set_gradients(group, slope);
        if (flow_.log_time) set_speed(group, broadcast<V>(dop853::node(to)) * step);
        if (!machine_.run(0, machine_.plan().gradient_end, g, g + 1)) return false;
        if (flow_.log_time && batch_.has_moments()) {
            const V by = speed(group);
            for (Index e = 0; e < size_; ++e) slope[e] = by * slope[e];
        }
        if (batch_.has_decay) {
            V decay = machine_.decay(group);
            if (flow_.log_time) decay = decay * speed(group);
            const V* const weights = machine_.weights(group);
#pragma GCC ivdep
            for (Index e = 0; e < size_; ++e) slope[e] = fma(decay, weights[e], slope[e]);
        }
        return true;
    }

    /// In logarithmic time u the flow is e^u times as fast, u = log(1 + time): at `ahead` of where the slots are.
    void set_speed(int group, V ahead) {
        for (int r = 0; r < lanes; ++r) {
            const int s = group * lanes + r;
            const double u = at(s).time + read(ahead, s);
            put(speed(group), s, std::exp(u));
            if (!batch_.has_moments()) machine_.steering().loss->set_log_scale(s, u);
        }
    }
    /// weights <- point - step * (slopes combined for a stage)
    template <int stage>
    void go_to(int group, V step) {
        V* const to = machine_.weights(group);
        const V* const from = block(group, 0);
        const V* const k = slopes(group);
#pragma GCC ivdep
        for (Index e = 0; e < size_; ++e)
            to[e] = fma(-step, combined<stage, 0, stage>(k, stride_, e), from[e]);
    }
    /// The same for stage `from`, and terms <- what the slopes before it give to the stages after it: each slope is
    /// fetched once for all of them, for the steps of a method with this many slopes are bound by memory.
    template <int from, int... after>
    void go_to_and_prepare(int group, V step, std::integer_sequence<int, after...> /*unused*/) {
        V* const to = machine_.weights(group);
        const V* const here = block(group, 0);
        const V* const k = slopes(group);
        V* const part = terms(group);
#pragma GCC ivdep
        for (Index e = 0; e < size_; ++e) {
            to[e] = fma(-step, combined<from, 0, from>(k, stride_, e), here[e]);
            ((part[after * stride_ + e] =
                  fma(-step, combined<from + 1 + after, 0, from>(k, stride_, e), here[e])),
             ...);
        }
    }
    template <int stage, int from>
    void go_on_to(int group, V step) {
        V* const to = machine_.weights(group);
        const V* const k = slopes(group);
        const V* const part = terms(group) + (stage - from - 1) * stride_;
#pragma GCC ivdep
        for (Index e = 0; e < size_; ++e)
            to[e] = fma(-step, combined<stage, from, stage>(k, stride_, e), part[e]);
    }
    /// The stages of a step; weights <- the next point, error <- that of the step by the tolerances: at most 1 is good.
    /// False if asked to stop.
    bool go_through(int group, V step, V& error) {
        const auto next_three = std::make_integer_sequence<int, 3>{};
        go_to<1>(group, step);
        if (!evaluate<1>(group, step)) return false;
        go_to<2>(group, step);
        if (!evaluate<2>(group, step)) return false;
        go_to<3>(group, step);
        if (!evaluate<3>(group, step)) return false;
        go_to<4>(group, step);
        if (!evaluate<4>(group, step)) return false;
        go_to_and_prepare<5>(group, step, next_three);
        if (!evaluate<5>(group, step)) return false;
        go_on_to<6, 5>(group, step);
        if (!evaluate<6>(group, step)) return false;
        go_on_to<7, 5>(group, step);
        if (!evaluate<7>(group, step)) return false;
        go_on_to<8, 5>(group, step);
        if (!evaluate<8>(group, step)) return false;
        go_to_and_prepare<9>(group, step, next_three);
        if (!evaluate<9>(group, step)) return false;
        go_on_to<10, 9>(group, step);
        if (!evaluate<10>(group, step)) return false;
        go_on_to<11, 9>(group, step);
        if (!evaluate<11>(group, step)) return false;
        error = finish_step(group, step);
        return evaluate<dop853::next_point>(group, step);
    }
    /// weights <- the next point; returns the error. Layers are measured as a whole, so that an entry that passes through
    /// zero, or a turn of the hidden units, makes no difference.
    V finish_step(int group, V step) {
        static_assert(dop853::table[dop853::error_5][dop853::next_point] == 0 &&
                      dop853::table[dop853::error_3][dop853::next_point] == 0);
        const V* const here = block(group, 0);
        const V* const k = slopes(group);
        const V* const part = terms(group) + (dop853::next_point - 10) * stride_;
        V* const next = machine_.weights(group);
        V total_5{};
        V total_3{};
        for (Index l = 0; l < batch_.n_layers; ++l) {
            const int id = machine_.plan().weights[static_cast<std::size_t>(l)];
            const Plan::Matrix& shape = machine_.plan().matrices[static_cast<std::size_t>(id)];
            const auto view = machine_.view(0, id);
            const Index first = view.data - machine_.weights(0);
            V sums[4] = {};
            for (Index i = 0; i < shape.rows; ++i) {
                V row[4] = {};
                for (Index e = first + i * view.ld; e < first + i * view.ld + shape.cols; ++e) {
                    const V move = combined<dop853::next_point, 9, 12>(k, stride_, e);
                    const V to = fma(-step, move, part[e]);
                    const V error_5 = combined<dop853::error_5, 0, 12>(k, stride_, e);
                    const V error_3 = combined<dop853::error_3, 0, 12>(k, stride_, e);
                    next[e] = to;
                    row[0] = fma(error_5, error_5, row[0]);
                    row[1] = fma(error_3, error_3, row[1]);
                    row[2] = fma(here[e], here[e], row[2]);
                    row[3] = fma(to, to, row[3]);
                }
                for (int q = 0; q < 4; ++q) sums[q] = sums[q] + row[q];
            }
            const V root = broadcast<V>(std::sqrt(static_cast<double>(batch_.layer_size(l))));
            const V norm = square_root(larger(sums[2], sums[3]));
            const V scale = step / fma(rtol(group), norm, atol(group) * root);
            const V scaled_5 = square_root(sums[0]) * scale;
            const V scaled_3 = square_root(sums[1]) * scale;
            total_5 = fma(scaled_5, scaled_5, total_5);
            total_3 = fma(scaled_3, scaled_3, total_3);
        }
        const V both = fma(broadcast<V>(0.01), total_3, total_5);
        const V n_layers = broadcast<V>(static_cast<double>(batch_.n_layers));
        // No error at all would be 0 / 0.
        const V tiny = broadcast<V>(1e-280);
        return total_5 / square_root(larger(both * n_layers, tiny));
    }

    /// Shorten the steps of some slots so that components far smaller than the layers grow with relative accuracy rtol;
    /// the weights in the machine are where the slots are.
    void limit_steps(int group, const std::vector<int>& which) {
        const Plan& plan = machine_.plan();
        if (plan.factors.size() == 1) return;
        V norm = square_root(squares(group, plan.residual));
        const bool faster = flow_.log_time && batch_.has_moments();  // other residuals are scaled
        if (faster) norm = norm * speed(group);
        const auto shorten = [&](const V& rate) {
            bool any = false;
            for (const int s : which) {
                const double least = read(reach(group), s) / read(rate, s);
                if (!(least < at(s).step)) continue;
                any = true;
                shortened_[static_cast<std::size_t>(s)] = least;
            }
            return any;
        };
        for (const int s : which) shortened_[static_cast<std::size_t>(s)] = at(s).step;
        // The norms of Schatten of order 2 and 8: the latter is nearer to the largest singular value, but costs two
        // products, and overflows.
        if (!shorten(growth_rate(group, norm))) return;
        const auto g = static_cast<std::size_t>(group);
        machine_.run(plan.gradient_end, plan.operations.size(), g, g + 1);
        V order_8 = square_root(square_root(square_root(squares(group, plan.residual_power))));
        if (faster) order_8 = order_8 * speed(group);
        for (const int s : which) shortened_[static_cast<std::size_t>(s)] = at(s).step;
        shorten(growth_rate(group, smaller(norm, order_8)));
        for (const int s : which) at(s).step = shortened_[static_cast<std::size_t>(s)];
    }
    /// The rate at which such components may grow: the second derivatives of the loss that couple two layers are the
    /// residual times the layers in between and around. For the residual this is an upper bound; the other layers enter
    /// by their root mean square singular value.
    V growth_rate(int group, V residual) const {
        const Plan& plan = machine_.plan();
        const std::size_t n_factors = plan.factors.size();
        if (n_factors == 2) return residual;
        V product = broadcast<V>(1);
        V least = broadcast<V>(std::numeric_limits<double>::infinity());
        V second = least;
        for (const Plan::Size& factor : plan.factors) {
            V square = broadcast<V>(factor.offset);
            if (factor.array >= 0) {
                const int id = plan.weights[static_cast<std::size_t>(factor.array)];
                const V own = squares(group, id) / broadcast<V>(factor.rank);
                square = factor.offset > 0 ? own + square : own;
            }
            const V norm = square_root(square);
            second = smaller(second, larger(least, norm));
            least = smaller(least, norm);
            product = product * norm;
        }
        // All layers but the two smallest.
        const V tiny = broadcast<V>(1e-300);
        const V others = product / larger(least * second, tiny);
        return residual * others * broadcast<V>(static_cast<double>(n_factors - 1));
    }
    V squares(int group, int id) const {
        return sum_of_squares(entries(machine_.view(group, id), id));
    }
    template <class View>
    Entries<V> entries(const View& view, int id) const {
        const Plan::Matrix& shape = machine_.plan().matrices[static_cast<std::size_t>(id)];
        return {view.data, view.ld, shape.rows, shape.cols};
    }

    /// Slopes and first steps of groups with new runs; records and stop rules where a run begins.
    bool begin() {
        for (int group = 0; group < n_groups_; ++group) {
            if (is_new_[static_cast<std::size_t>(group)] == 0) continue;
            is_new_[static_cast<std::size_t>(group)] = 0;
            // Runs that are under way get the slopes they have: same weights, same bits.
            std::copy_n(block(group, 0), size_, machine_.weights(group));
            if (!evaluate<0>(group, V{})) return false;
            const V first = first_step(group);
            for (int s = group * lanes; s < (group + 1) * lanes; ++s) {
                FlowSlot& slot = at(s);
                if (slot.run < 0 || slot.step >= 0) continue;
                double step = read(first, s);
                if (!(step > 0)) step = 1e-4 * (flow_.until - flow_.begin);
                slot.step = step;
                fresh_.push_back(s);
                // What does not move does not grow either.
                if (!std::isinf(step)) taken_.push_back(s);
            }
            limit_steps(group, taken_);
            taken_.clear();
            const auto start = [&](V* to) { std::copy_n(block(group, 0), size_, to); };
            if (!fresh_.empty() && batch_.n_records > 0 && flow_.record_times[0] == flow_.begin) {
                if (!observe(group, batch_.at_record, start)) return false;
                for (const int s : fresh_) record(s);
            }
            if (!fresh_.empty() && !check(group, fresh_, start)) return false;
            for (const int s : fresh_) {
                if (at(s).run >= 0 && at(s).time == flow_.until) finish(s, Status::completed);
            }
            fresh_.clear();
        }
        return true;
    }
    /// A hundredth of the time in which the weights change by their own size, as measured by the tolerances; infinite
    /// where they do not move.
    V first_step(int group) const {
        V here{};
        V slope{};
        for (Index l = 0; l < batch_.n_layers; ++l) {
            V square_here{};
            V square_slope{};
            for_each_entry(l, [&](Index e, Index /*flat*/) {
                const V y = block(group, 0)[e];
                const V f = slopes(group)[e];
                square_here = fma(y, y, square_here);
                square_slope = fma(f, f, square_slope);
            });
            const V root = broadcast<V>(std::sqrt(static_cast<double>(batch_.layer_size(l))));
            const V scale = fma(rtol(group), square_root(square_here), atol(group) * root);
            const V a = square_root(square_here) / scale;
            const V b = square_root(square_slope) / scale;
            here = fma(a, a, here);
            slope = fma(b, b, slope);
        }
        const V infinite = broadcast<V>(std::numeric_limits<double>::infinity());
        return select(less_equal(slope, V{}), infinite,
                      broadcast<V>(0.01) * square_root(here / slope));
    }
    /// One step of every run in a group, taken or refused; false if asked to stop.
    bool step(int group) {
        V step{};
        bool any_active = false;
        double tried[lanes] = {};
        double next_time[lanes] = {};
        for (int r = 0; r < lanes; ++r) {
            const FlowSlot& slot = at(group * lanes + r);
            if (slot.run < 0) continue;
            any_active = true;
            // The end is met exactly, and not by a last step that is much smaller than the one before.
            const double left = flow_.until - slot.time;
            tried[r] = slot.step >= left ? left : slot.step > left / 2 ? left / 2 : slot.step;
            next_time[r] = tried[r] == left ? flow_.until : slot.time + tried[r];
            put(step, r, tried[r]);
        }
        if (!any_active) return true;
        V error{};
        if (!go_through(group, step, error)) return false;
        // The factor between one step and the next, error^(-1/8).
        const V factor = broadcast<V>(safety) / square_root(square_root(square_root(error)));

        const V* next = machine_.weights(group);
        taken_.clear();
        bool is_record = false;
        for (int r = 0; r < lanes; ++r) {
            const int s = group * lanes + r;
            FlowSlot& slot = at(s);
            if (slot.run < 0) continue;
            ++slot.n_steps;
            const double size = read(error, s);
            const double by = read(factor, s);
            if (size <= 1) {
                taken_.push_back(s);
                const double most = slot.refused ? 1 : grow_most;
                slot.step = tried[r] * (by < most ? std::max(by, shrink_most) : most);
                slot.refused = false;
                is_record = is_record || is_due(slot, next_time[r]);
            } else {  // also if NaN
                slot.step = tried[r] * (by > shrink_most ? by : shrink_most);
                slot.refused = true;
            }
        }
        limit_steps(group, taken_);
        if (is_record && !write_records(group, step, next_time, next)) return false;
        for (const int s : taken_) {
            progress_.done.fetch_add(thousandths(next_time[s % lanes]) - thousandths(at(s).time),
                                     std::memory_order_relaxed);
            at(s).time = next_time[s % lanes];
        }
        advance(group, next);
        if (!check(group, taken_, [&](V* to) { std::copy_n(next, size_, to); })) return false;
        for (int s = group * lanes; s < (group + 1) * lanes; ++s) {
            const FlowSlot& slot = at(s);
            if (slot.run < 0) continue;
            if (slot.time == flow_.until) {
                finish(s, Status::completed);
            } else if (slot.time + slot.step == slot.time) {
                finish(s, Status::diverged);
            } else if (slot.n_steps >= flow_.max_steps) {
                finish(s, Status::exhausted);
            }
        }
        return true;
    }
    /// Go where the step leads, in the slots that take it.
    void advance(int group, const V* next) {
        V* const here = block(group, 0);
        V* const slope = slopes(group);
        const V* const next_slope = slope + dop853::next_point * stride_;
        if (static_cast<int>(taken_.size()) == lanes) {
            std::copy_n(next, size_, here);
            std::copy_n(next_slope, size_, slope);
            return;
        }
        V is_taken{};
        for (const int s : taken_) put(is_taken, s, 1);
        const auto mask = less(V{}, is_taken);
#pragma GCC ivdep
        for (Index e = 0; e < size_; ++e) {
            here[e] = select(mask, next[e], here[e]);
            slope[e] = select(mask, next_slope[e], slope[e]);
        }
    }

    bool is_due(const FlowSlot& slot, double until) const {
        return slot.record < batch_.n_records &&
               flow_.record_times[static_cast<std::size_t>(slot.record)] <= until;
    }
    /// Write the records between here and next_time of the slots that take their step to `next`, which may be put
    /// elsewhere.
    bool write_records(int group, V step, const double* next_time, const V*& next) {
        const V* const here = block(group, 0);
        const V* const k = slopes(group);
        bool inside = false;
        for (const int s : taken_) {
            const auto first = static_cast<std::size_t>(at(s).record);
            inside = inside || (is_due(at(s), next_time[s % lanes]) &&
                                flow_.record_times[first] < next_time[s % lanes]);
        }
        V* const term = terms(group);
        if (inside) {
            next = std::copy_n(next, size_, block(group, 1)) - size_;
            go_to<13>(group, step);
            if (!evaluate<13>(group, step)) return false;
            go_to<14>(group, step);
            if (!evaluate<14>(group, step)) return false;
            go_to<15>(group, step);
            if (!evaluate<15>(group, step)) return false;
            const V* const last = k + dop853::next_point * stride_;
            const auto highest = [&](auto row, Index e) {
                return -step * combined<dop853::dense + decltype(row)::value, 0, 16>(k, stride_, e);
            };
#pragma GCC ivdep
            for (Index e = 0; e < size_; ++e) {
                const V move = next[e] - here[e];
                term[e] = move;
                term[stride_ + e] = fma(-step, k[e], -move);
                term[2 * stride_ + e] = fma(step, last[e] + k[e], move + move);
                term[3 * stride_ + e] = highest(std::integral_constant<int, 0>{}, e);
                term[4 * stride_ + e] = highest(std::integral_constant<int, 1>{}, e);
                term[5 * stride_ + e] = highest(std::integral_constant<int, 2>{}, e);
                term[6 * stride_ + e] = highest(std::integral_constant<int, 3>{}, e);
            }
        }
        // One record of each slot at a time.
        while (true) {
            due_.clear();
            V part = broadcast<V>(1);
            for (const int s : taken_) {
                const FlowSlot& slot = at(s);
                const double end = next_time[s % lanes];
                if (!is_due(slot, end)) continue;
                due_.push_back(s);
                const double time = flow_.record_times[static_cast<std::size_t>(slot.record)];
                put(part, s, time == end ? 1 : (time - slot.time) / (end - slot.time));
            }
            if (due_.empty()) return true;
            const V one = broadcast<V>(1);
            const V rest = one - part;
            const auto at_end = less_equal(one, part);
            const auto interpolate = [&](V* to) {
#pragma GCC ivdep
                for (Index e = 0; e < size_; ++e) {
                    V move = term[6 * stride_ + e] * part;
                    move = (move + term[5 * stride_ + e]) * rest;
                    move = (move + term[4 * stride_ + e]) * part;
                    move = (move + term[3 * stride_ + e]) * rest;
                    move = (move + term[2 * stride_ + e]) * part;
                    move = (move + term[stride_ + e]) * rest;
                    move = (move + term[e]) * part;
                    to[e] = select(at_end, next[e], here[e] + move);
                }
            };
            if (!observe(group, batch_.at_record, interpolate)) return false;
            for (const int s : due_) record(s);
        }
    }
    /// Let the probe look at what `fill` writes as the weights of a group.
    template <class Fill>
    bool observe(int group, const Wanted& wanted, const Fill& fill) {
        fill(probe_.machine().weights(group));
        return !wanted.any() || probe_.evaluate(wanted, group * lanes, (group + 1) * lanes, pulse_);
    }
    void record(int s) {
        FlowSlot& slot = at(s);
        batch_.write_record(probe_, s, slot.run, slot.record);
        batch_.write_weights(probe_.machine(), s, slot.run, slot.record);
        ++slot.record;
    }
    /// End the runs among `which` that have met a stop rule.
    template <class Fill>
    bool check(int group, const std::vector<int>& which, const Fill& fill) {
        if (!batch_.has_stop_rule || which.empty()) return true;
        if (!observe(group, batch_.at_check, fill)) return false;
        for (const int s : which) {
            if (batch_.is_converged(probe_, s, at(s).run)) finish(s, Status::converged);
        }
        return true;
    }
    void finish(int s, Status status) {
        FlowSlot& slot = at(s);
        for (Index l = 0; l < batch_.n_layers; ++l)
            get_weights(s, l, batch_.final_weights(slot.run, l));
        batch_.results.status[slot.run] = static_cast<std::int8_t>(status);
        batch_.results.stopped_time[slot.run] = slot.time;
        batch_.results.n_steps_taken[slot.run] = slot.n_steps;
        progress_.done.fetch_add(thousandths(flow_.until) - thousandths(slot.time),
                                 std::memory_order_relaxed);
        slot.run = -1;
        --n_active_;
        if (!batch_.has_moments()) machine_.steering().loss->set_run(s, -1, 0);
        probe_.set_run(s, -1);
    }
    std::int64_t thousandths(double time) const {
        if (time == flow_.until) return 1000;
        return static_cast<std::int64_t>(1000 *
                                         ((time - flow_.begin) / (flow_.until - flow_.begin)));
    }

    Batch<double>& batch_;
    const Flow& flow_;
    Progress& progress_;
    Pulse& pulse_;
    Machine machine_;
    Probe<ProbeMachine> probe_;
    int n_groups_;
    Index size_;
    Index
        stride_;  // of blocks: not a power of two, which would put them all into the same cache sets
    std::vector<FlowSlot> slots_;
    std::vector<char> is_new_;  // per group: are there runs whose slopes are not known yet?
    Arena<V> memory_;
    int n_active_ = 0;
    std::vector<double> dense_, no_rates_;
    std::vector<int> fresh_, taken_, due_;
    std::vector<double> shortened_;
};

using DirectFlow = FlowRunner<DirectMachine<double>, DirectMachine<double>>;
using LaneFlow = FlowRunner<LaneMachine<double>, LaneMachine<double>>;

}  // namespace

bool flow(const Problem<double>& problem, const Flow& method, const Results<double>& results,
          const Control& control) {
    Batch<double> batch(problem, results, method.record_times.size());
    if (batch.n_runs == 0) return true;
    const Plan plan = slope_plan(problem.chain, batch.by);
    const Plan probe_plan = gradient_plan(problem.chain, batch.by);
    // Per slope about eight others are combined.
    Costs costs = Costs::of<double>(plan, 8);
    costs.add_loss(work_of_loss(problem.loss, nullptr, batch.n_in), native_lanes<double>);
    const auto steering = [&](auto number, int n_slots) {
        return steering_of<decltype(number)>(problem.loss, nullptr, StepKind::constant, batch.n_in,
                                             batch.n_layers, n_slots);
    };
    const auto n_workers =
        static_cast<int>(std::min<Index>(std::max(control.n_threads, 1), batch.n_runs));
    const Index share = (batch.n_runs + n_workers - 1) / n_workers;
    const double fewest_lanes = costs.fewest_lanes();
    const bool use_lanes =
        fewest_lanes <= std::min<double>(native_lanes<double>, static_cast<double>(share));

    Progress progress;
    run_workers(n_workers, progress, control.poll, [&](int /*worker*/, Pulse& pulse) {
        DirectFlow direct(batch, method, progress, pulse,
                          DirectMachine<double>(plan, batch.has_decay, steering(0.0, 1)),
                          DirectMachine<double>(probe_plan, false, steering(0.0, 1)));
        direct.set_pulse();
        const auto claim_into = [&batch](auto& runner) {
            return [&batch, &runner](int slot) {
                const Index run = batch.claim();
                if (run >= 0) runner.load(slot, run);
                return run >= 0;
            };
        };
        const auto never = [] { return false; };
        if (use_lanes) {
            // One group of lanes: combining slopes leaves enough to do while products wait for each other.
            const int n_groups = 1;
            const double* const cov = batch.shared_cov();
            const double* const cross = batch.shared_cross();
            const auto own = [&] {
                return steering(Pack<double, native_lanes<double>>{},
                                n_groups * native_lanes<double>);
            };
            LaneFlow by_lanes(
                batch, method, progress, pulse,
                LaneMachine<double>(plan, n_groups, cov, cross, batch.has_decay, own()),
                LaneMachine<double>(probe_plan, n_groups, cov, cross, false, own()));
            // No worker takes more than its share at first, so that few runs spread over all workers.
            Index taken = 0;
            const auto claim = claim_into(by_lanes);
            const auto refill = [&](int slot) {
                if (taken < by_lanes.machine().n_slots() && taken >= share) return false;
                ++taken;
                return claim(slot);
            };
            const auto enough = [&] {
                return batch.drained() && by_lanes.n_active() < fewest_lanes;
            };
            if (!by_lanes.work(refill, enough)) return;
            int slot = 0;
            FlowSlot state;
            while (by_lanes.release(slot, state)) {
                direct.adopt(0, state, slot, by_lanes);
                if (!direct.work([](int) { return false; }, never)) return;
            }
        }
        direct.work(claim_into(direct), never);
    });
    return !progress.stop.load();
}

}  // namespace linnet
