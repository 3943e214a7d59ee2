// A batch of runs with all its arrays, for tests.
#pragma once

#include <algorithm>
#include <random>

#include "linnet/train.hpp"

namespace linnet::tests {

template <class T>
struct Batch {
    Problem<T> problem;
    Descent descent;
    Flow flow;
    Results<T> results;
    std::vector<std::vector<T>> weights, final_weights;
    std::vector<double> cov, cross, factor, least_loss{0.0}, steps, decay, tolerance{1e-8}, loss,
        values, norms, imbalance, gradient;
    std::vector<std::int8_t> status;
    std::vector<std::int64_t> stopped_at, n_steps_taken;
    std::vector<double> stopped_time;

    Batch(std::vector<Index> widths, Index n_runs, Index n_steps, Index n_records,
          double step_size = 0.01) {
        std::mt19937 generator(5);
        std::normal_distribution<double> normal;
        problem.chain = Chain::dense(widths);
        problem.run_shape = {n_runs};
        descent.n_steps = n_steps;
        const Index n_in = widths.front();
        const Index n_out = widths.back();
        const auto n_layers = static_cast<Index>(widths.size()) - 1;
        const auto runs = static_cast<std::size_t>(n_runs);
        for (Index l = 0; l < n_layers; ++l) {
            const auto at = static_cast<std::size_t>(l);
            const Index size = widths[at] * widths[at + 1];
            std::vector<T> w(static_cast<std::size_t>(n_runs * size));
            for (T& x : w) x = static_cast<T>(0.3 * normal(generator));
            weights.push_back(w);
            final_weights.push_back(w);
        }
        for (Index l = 0; l < n_layers; ++l) {
            const auto at = static_cast<std::size_t>(l);
            problem.weights.push_back({weights[at].data(), {widths[at] * widths[at + 1]}});
            results.final_weights.push_back(final_weights[at].data());
        }
        cov.assign(static_cast<std::size_t>(n_in * n_in), 0.1);
        for (Index i = 0; i < n_in; ++i) cov[static_cast<std::size_t>(i * n_in + i)] = 1;
        cross.resize(static_cast<std::size_t>(n_out * n_in));
        for (double& x : cross) x = 0.5 * normal(generator);
        steps.assign(static_cast<std::size_t>(n_layers), step_size);
        problem.loss = LossData("squared", {n_runs}, n_in, n_out);
        set_moment("input_cov", cov, 0);
        set_moment("cross_cov", cross, 0);
        // A factor that is not that of the moments, where only costs and bits matter.
        factor.assign(static_cast<std::size_t>((n_in + 3) / 4 * 4 * n_in), 0.0);
        for (Index i = 0; i < n_in; ++i) factor[static_cast<std::size_t>(i * n_in + i)] = 1;
        problem.loss.sample_extent = (n_in + 3) / 4 * 4;
        set_moment("minimizer", cross, 0);
        set_moment("factor", factor, 0);
        set_moment("least_loss", least_loss, 0);
        descent.step_size = {steps.data(), {0}};
        decay.resize(static_cast<std::size_t>(n_layers));
        problem.weight_decay = {decay.data(), {0}};
        flow.rtol = flow.atol = {tolerance.data(), {0}};
        flow.until = static_cast<double>(n_steps) * step_size;
        flow.max_steps = 100000;
        for (Index k = 0; k < n_records; ++k) {
            descent.record_steps.push_back(n_steps * k / n_records);
            flow.record_times.push_back(flow.until * static_cast<double>(k) /
                                        static_cast<double>(n_records));
        }
        const std::size_t cells = runs * static_cast<std::size_t>(n_records);
        loss.resize(cells);
        gradient.resize(cells);
        values.resize(cells * static_cast<std::size_t>(std::min(n_in, n_out)));
        norms.resize(cells * static_cast<std::size_t>(n_layers));
        imbalance.resize(cells * static_cast<std::size_t>(n_layers));
        observe();
        status.resize(runs);
        stopped_at.resize(runs);
        results.status = status.data();
        results.stopped_at = stopped_at.data();
        stopped_time.resize(runs);
        n_steps_taken.resize(runs);
        results.stopped_time = stopped_time.data();
        results.n_steps_taken = n_steps_taken.data();
    }

    /// One for all runs with stride 0, else one for each.
    void set_moment(const char* name, const std::vector<double>& moment, Index stride) {
        problem.loss.values[name] = RunArray<double>{moment.data(), {stride}};
    }
    /// Record into the vectors as they are now.
    void observe() {
        results.to("loss") = loss.data();
        results.to("gradient_norm") = gradient.data();
        results.to("singular_values") = values.data();
        results.to("layer_norms") = norms.data();
        results.to("imbalance") = imbalance.data();
    }
};

}  // namespace linnet::tests
