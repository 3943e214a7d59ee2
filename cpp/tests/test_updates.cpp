// Update policies: the same on every machine, entry by entry; plans that keep what they ask for;
// and trainings that remember.
#include <algorithm>
#include <cmath>
#include <string>
#include <tuple>

#include "check.hpp"
#include "engines/costs.hpp"
#include "problem.hpp"
#include "updates/updater.hpp"

using namespace linnet;
using linnet::tests::Batch;

namespace {

int place_of(const std::string& name) {
    const auto& all = update_policies();
    return static_cast<int>(
        std::find_if(all.begin(), all.end(), [&](const auto& p) { return p.name == name; }) -
        all.begin());
}

/// A batch of runs that remember: every policy with all of its parameters equal in a run.
template <class T>
struct Remembering : Batch<T> {
    std::vector<double> parameter;
    std::vector<std::vector<T>> memory, final_memory;

    Remembering(std::vector<Index> widths, Index n_runs, Index n_steps, int policy,
                std::vector<double> parameters, bool choice = false)
        : Batch<T>(widths, n_runs, n_steps, 2),
          parameter(std::move(parameters)) {
        const UpdatePolicy& known = update_policies()[static_cast<std::size_t>(policy)];
        this->descent.update.policy = policy;
        const Index stride = parameter.size() > 1 ? 1 : 0;
        this->descent.update.parameters.assign(known.parameters.size(),
                                               {parameter.data(), {stride}});
        this->descent.update.choices.assign(known.choices.size(), choice ? 1 : 0);
        if (!known.choices.empty() && known.choices.back() == "iterations")
            this->descent.update.choices.back() = 5;
        const std::size_t n_layers = this->weights.size();
        for (std::size_t k = 0; k < static_cast<std::size_t>(known.n_memories) * n_layers; ++k) {
            memory.emplace_back(this->weights[k % n_layers].size());
            final_memory.emplace_back(this->weights[k % n_layers].size());
        }
        for (std::size_t k = 0; k < memory.size(); ++k) {
            this->problem.memory.push_back(
                {memory[k].data(), this->problem.weights[k % n_layers].strides});
            this->results.final_memory.push_back(final_memory[k].data());
        }
    }
    void run(int n_threads = 1) {
        CHECK(train(this->problem, this->descent, this->results, {n_threads, {}}));
    }
};

/// A matrix as a group of runs has it, a run per lane, and as a run that is alone has it, its rows
/// padded to whole vectors.
template <class P, class T>
void every_machine_gives_the_same() {
    constexpr Index rows = 3, cols = 5, size = rows * cols;
    using V = Pack<T, native_lanes<T>>;
    constexpr int lanes = native_lanes<T>;
    constexpr Index ld = (cols + lanes - 1) / lanes * lanes;
    const int n_kept = P::n_memories + 1;
    Update update;
    update.policy = place_of(P::name);
    update.parameters.resize(P::parameters.size());
    for (const int choice : {0, 1}) {
        update.choices.assign(P::choices.size(), choice);
        if (!update.choices.empty()) update.choices.back() += 1;  // so many iterations
        for (const int decay_kind : {0, 1, 2}) {
            update.decoupled = decay_kind == 2;
            Updater<V> of_packs(update, size, lanes);
            Updater<T> of_one(update, size, 1);
            Arena<V> packs(size * (n_kept + 1)), gradients(size);
            Arena<T> one(rows * ld * n_kept), own_gradient(rows * ld);
            const V step = broadcast<V>(static_cast<T>(0.1));
            V decay{};
            const auto parameters = [](int r) {
                std::vector<double> all(P::parameters.size(), 0.9 * r / lanes);
                // A variance of nothing but the last gradient is 0: eps keeps the quotient from it.
                if (all.size() > 1) all[1] += 0.05;
                return all;
            };
            for (int r = 0; r < lanes; ++r) {
                of_packs.set(r, parameters(r), r % 2);
                set_lane(decay, r, static_cast<T>(0.05 * r));
            }
            const auto entry = [](Index i, int r) {
                return static_cast<T>(std::sin(static_cast<double>(7 * i + r)));
            };
            const auto fill_gradients = [&](int n) {
                for (Index i = 0; i < size; ++i) {
                    for (int r = 0; r < lanes; ++r)
                        set_lane(gradients.data()[i], r, entry(i + 100 * n, r));
                }
            };
            for (Index i = 0; i < size; ++i) {
                for (int r = 0; r < lanes; ++r) set_lane(packs.data()[i], r, entry(i + 50, r));
            }
            constexpr int n_steps = 20;  // beyond a period of the running powers
            for (int n = 0; n < n_steps; ++n) {
                fill_gradients(n);
                of_packs.apply(0, {packs.data(), cols, rows, cols}, gradients.data(), size, &step,
                               decay_kind > 0 ? &decay : nullptr);
                of_packs.advance();
            }
            for (int r = 0; r < lanes; ++r) {
                std::fill_n(one.data(), rows * ld * n_kept, T{0});
                const auto at = [&](Index i) { return i / cols * ld + i % cols; };
                for (Index i = 0; i < size; ++i) one.data()[at(i)] = entry(i + 50, r);
                const T own_step = get_lane(step, r);
                const T own_decay = get_lane(decay, r);
                // Begun anew in every step: nothing but its number counts.
                for (int n = 0; n < n_steps; ++n) {
                    for (Index i = 0; i < size; ++i)
                        own_gradient.data()[at(i)] = entry(i + 100 * n, r);
                    of_one.set(0, parameters(r), r % 2 + n);
                    of_one.apply(0, {one.data(), ld, rows, cols}, own_gradient.data(), rows * ld,
                                 &own_step, decay_kind > 0 ? &own_decay : nullptr);
                }
                for (int k = 0; k < n_kept; ++k) {
                    for (Index i = 0; i < size; ++i)
                        CHECK(one.data()[k * rows * ld + at(i)] ==
                              get_lane(packs.data()[k * size + i], r));
                }
                // And it did something; steps of signs may lead back to where an entry was.
                bool moved = false;
                for (Index i = 0; i < size; ++i)
                    moved = moved || one.data()[at(i)] != entry(i + 50, r);
                CHECK(moved);
            }
        }
    }
}

template <class T, class... Policies>
void every_policy_is_the_same_on_every_machine(const std::tuple<Policies...>& /*list*/) {
    const auto look_at = [](auto policy) {
        if constexpr (decltype(policy)::stores_gradients)
            every_machine_gives_the_same<decltype(policy), T>();
    };
    (look_at(Policies{}), ...);
}

/// One step of a two-layer chain after the other, by hand.
template <class T>
void equals_the_recursion(bool nesterov) {
    const Index d = 3;
    const Index n_runs = 21;
    const double step_size = 0.05;
    const std::vector<double> mu{0.7};
    Remembering<T> batch({d, d, d}, n_runs, 30, place_of("momentum"), mu, nesterov);
    std::fill(batch.steps.begin(), batch.steps.end(), step_size);
    batch.run();
    const double tolerance = std::is_same_v<T, double> ? 1e-12 : 1e-4;
    for (const std::size_t run : {0, 7, 20}) {
        using M = std::vector<double>;
        const auto at = [&](std::size_t i, std::size_t j) {
            return i * static_cast<std::size_t>(d) + j;
        };
        const auto part = [&](const std::vector<T>& all) {
            return M(all.begin() + static_cast<std::ptrdiff_t>(run * 9),
                     all.begin() + static_cast<std::ptrdiff_t>(run * 9 + 9));
        };
        const auto product = [&](const M& a, bool a_t, const M& b, bool b_t) {
            M c(9);
            for (std::size_t i = 0; i < 3; ++i)
                for (std::size_t j = 0; j < 3; ++j)
                    for (std::size_t k = 0; k < 3; ++k)
                        c[at(i, j)] += a[a_t ? at(k, i) : at(i, k)] * b[b_t ? at(j, k) : at(k, j)];
            return c;
        };
        M w[2] = {part(batch.weights[0]), part(batch.weights[1])};
        M v[2] = {M(9), M(9)};
        for (int step = 0; step < 30; ++step) {
            M residual = product(product(w[1], false, w[0], false), false, batch.cov, false);
            for (std::size_t i = 0; i < 9; ++i) residual[i] -= batch.cross[i];
            const M g[2] = {product(w[1], true, residual, false),
                            product(residual, false, w[0], true)};
            for (int l = 0; l < 2; ++l) {
                for (std::size_t i = 0; i < 9; ++i) {
                    v[l][i] = mu[0] * v[l][i] + g[l][i];
                    w[l][i] -= step_size * (nesterov ? g[l][i] + mu[0] * v[l][i] : v[l][i]);
                }
            }
        }
        for (std::size_t l = 0; l < 2; ++l) {
            for (std::size_t i = 0; i < 9; ++i) {
                CHECK(std::abs(batch.final_weights[l][run * 9 + i] - w[l][i]) < tolerance);
                CHECK(std::abs(batch.final_memory[l][run * 9 + i] - v[l][i]) < tolerance);
            }
        }
    }
}

template <class T>
void a_momentum_of_0_is_plain_descent(const std::vector<Index>& widths) {
    const Index n_runs = 29;
    std::vector<double> mu(static_cast<std::size_t>(n_runs), 0.5);
    for (std::size_t run = 0; run < mu.size(); run += 3) mu[run] = 0;
    Remembering<T> plain(widths, n_runs, 20, 0, {});
    plain.run();
    for (const bool nesterov : {false, true}) {
        Remembering<T> batch(widths, n_runs, 20, place_of("momentum"), mu, nesterov);
        batch.run(2);
        bool others_differ = true;
        for (std::size_t l = 0; l + 1 < widths.size(); ++l) {
            const auto size = static_cast<std::size_t>(widths[l] * widths[l + 1]);
            for (std::size_t i = 0; i < size * mu.size(); ++i) {
                const bool same = batch.final_weights[l][i] == plain.final_weights[l][i];
                if (mu[i / size] == 0) {
                    CHECK(same);
                } else {
                    others_differ = others_differ && !same;
                }
            }
        }
        CHECK(others_differ);
    }
}

template <class T>
void a_run_alone_remembers_the_same(const std::vector<Index>& widths) {
    const Index n_runs = 37;
    std::vector<double> mu;
    for (int run = 0; run < n_runs; ++run) mu.push_back(0.02 * run);
    Remembering<T> batch(widths, n_runs, 23, place_of("momentum"), mu);
    batch.run(2);
    for (const Index run : {0, 5, 36}) {
        const auto at = static_cast<std::size_t>(run);
        Remembering<T> alone(widths, n_runs, 23, place_of("momentum"), {mu[at]});
        alone.problem.run_shape = {1};
        for (std::size_t l = 0; l + 1 < widths.size(); ++l)
            alone.problem.weights[l].data += run * widths[l] * widths[l + 1];
        alone.run();
        for (std::size_t l = 0; l + 1 < widths.size(); ++l) {
            const auto size = static_cast<std::size_t>(widths[l] * widths[l + 1]);
            for (std::size_t i = 0; i < size; ++i) {
                CHECK(alone.final_weights[l][i] == batch.final_weights[l][at * size + i]);
                CHECK(alone.final_memory[l][i] == batch.final_memory[l][at * size + i]);
            }
        }
    }
}

}  // namespace

TEST(the_first_policy_is_plain_and_names_differ) {
    const auto& all = update_policies();
    CHECK(all.front().name == "plain" && !all.front().stores_gradients);
    CHECK(all.size() == std::tuple_size_v<UpdateList>);
    for (std::size_t k = 0; k < all.size(); ++k)
        CHECK(place_of(all[k].name) == static_cast<int>(k));
}

TEST(every_policy_in_double_is_the_same_on_every_machine) {
    every_policy_is_the_same_on_every_machine<double>(UpdateList{});
}
TEST(every_policy_in_float_is_the_same_on_every_machine) {
    every_policy_is_the_same_on_every_machine<float>(UpdateList{});
}

TEST(plans_keep_what_lasts_first_and_side_by_side) {
    Chain shared = Chain::dense({4, 4, 4, 4});
    shared.factors[1].array = 0;
    shared.factors[2].array = 1;
    shared.sizes.pop_back();
    for (const Chain& chain : {Chain::dense({3, 5, 2}), Chain::dense({4, 4}), shared}) {
        for (const int n_memories : {0, 1, 2}) {
            const Plan plan = training_plan(chain, ResidualBy::moments, false, {true, n_memories});
            CHECK(plan.n_memories() == n_memories);
            CHECK(plan.n_persistent() == plan.n_layers() * (n_memories + 1));
            for (Index k = 0; k < plan.n_persistent(); ++k) {
                const auto& m = plan.matrices[static_cast<std::size_t>(plan.persistent(k))];
                const auto& w = plan.matrices[static_cast<std::size_t>(
                    plan.weights[static_cast<std::size_t>(k % plan.n_layers())])];
                CHECK(m.storage == k);
                CHECK(m.rows == w.rows && m.cols == w.cols);
            }
            // Every array is moved once, when all gradients are there.
            Index n_updates = 0;
            for (std::size_t k = 0; k < plan.operations.size(); ++k) {
                const bool moves = plan.operations[k].kind == Product::update_stored;
                CHECK(moves == (k >= plan.gradient_end));
                n_updates += moves ? 1 : 0;
            }
            CHECK(n_updates == plan.n_layers());
        }
        const Costs none =
            Costs::of<double>(training_plan(chain, ResidualBy::moments, false, {true, 0}));
        const Costs two =
            Costs::of<double>(training_plan(chain, ResidualBy::moments, false, {true, 2}));
        CHECK(two.lanes > none.lanes && two.direct > none.direct);
    }
}

TEST(momentum_equals_its_recursion) {
    for (const bool nesterov : {false, true}) {
        equals_the_recursion<double>(nesterov);
        equals_the_recursion<float>(nesterov);
    }
}

TEST(a_momentum_of_0_is_plain_descent_everywhere) {
    for (const std::vector<Index>& widths : {std::vector<Index>{1, 1},
                                             {3, 2},
                                             {4, 4, 4},
                                             {5, 3, 7, 2},
                                             {2, 9, 1, 9, 3},
                                             {17, 16, 19}}) {
        a_momentum_of_0_is_plain_descent<double>(widths);
        a_momentum_of_0_is_plain_descent<float>(widths);
    }
}

TEST(a_run_alone_remembers_the_same_everywhere) {
    for (const std::vector<Index>& widths :
         {std::vector<Index>{1, 1}, {3, 2}, {4, 4, 4}, {8, 8, 8}, {5, 3, 7, 2}, {17, 16, 19}}) {
        a_run_alone_remembers_the_same<double>(widths);
        a_run_alone_remembers_the_same<float>(widths);
    }
}

TEST(divergence_leaves_the_memory_of_its_step) {
    std::vector<double> step_sizes(40, 0.01);
    step_sizes[14] = step_sizes[15] = 50;
    const int momentum = place_of("momentum");
    Remembering<double> batch({3, 3, 3}, 20, 200, momentum, {0.9});
    batch.descent.step_size = {step_sizes.data(), {2}};
    batch.run(2);
    CHECK(batch.status[7] == static_cast<std::int8_t>(Status::diverged));
    CHECK(batch.stopped_at[7] > 1 && batch.stopped_at[7] < 50);
    // As far as it went: one run on the direct machine, from the start.
    Remembering<double> alone({3, 3, 3}, 20, batch.stopped_at[7], momentum, {0.9});
    alone.problem.run_shape = {1};
    alone.descent.step_size = {step_sizes.data() + 14, {2}};
    for (auto& weights : alone.problem.weights) weights.data += 7 * 9;
    alone.run();
    CHECK(alone.stopped_at[0] == batch.stopped_at[7]);
    for (std::size_t l = 0; l < 2; ++l) {
        for (std::size_t i = 0; i < 9; ++i) {
            const double a = alone.final_memory[l][i];
            const double b = batch.final_memory[l][7 * 9 + i];
            CHECK(a == b || (std::isnan(a) && std::isnan(b)));
        }
    }
}

TEST(runs_that_had_ended_keep_their_memory) {
    Remembering<double> batch({3, 2}, 9, 5, place_of("momentum"), {0.5});
    std::vector<std::int8_t> ended(9, 0);
    ended[4] = static_cast<std::int8_t>(Status::converged);
    for (double& x : batch.memory[0]) x = 0.25;
    batch.problem.ended = ended.data();
    batch.run();
    for (std::size_t i = 0; i < 54; ++i) CHECK((batch.final_memory[0][i] == 0.25) == (i / 6 == 4));
}

TEST(remembering_allocates_nothing_in_the_loop) {
    const std::vector<double> temperature{0.1};
    const std::vector<std::int64_t> stream{3};
    WeightNoise noise;
    noise.temperature = {temperature.data(), {0}};
    noise.stream = {stream.data(), {0}};
    const auto allocations_of = [&](int policy, Index n_steps) {
        Remembering<double> batch({5, 3, 7, 2}, 40, n_steps, policy, {0.5});
        batch.descent.noise = &noise;
        const long before = tests::allocations();
        train(batch.problem, batch.descent, batch.results, {1, {}});
        return tests::allocations() - before;
    };
    for (int policy = 0; policy < static_cast<int>(update_policies().size()); ++policy)
        CHECK(allocations_of(policy, 4) == allocations_of(policy, 40));
}
