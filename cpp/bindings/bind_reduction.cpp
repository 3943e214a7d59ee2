#include <string>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "interruptible.hpp"
#include "linnet/algebra.hpp"
#include "linnet/reduction.hpp"
#include "register.hpp"

namespace linnet::bindings {

namespace {

py::tuple subspaces(const std::vector<py::array>& weights, const py::object& seen, Index most,
                    const std::vector<Index>& run_shape, int n_threads) {
    require(weights.size() >= 2, "weights must be of at least 2 layers");
    require(most >= 1, "most must be >= 1");
    SubspaceProblem problem;
    problem.run_shape = run_shape;
    problem.most = most;
    for (std::size_t l = 0; l < weights.size(); ++l) {
        const std::vector<Index> shape = shape_of(weights[l]);
        require(shape.size() == run_shape.size() + 2,
                "weights must have the run axes and 2 more, got " + std::to_string(shape.size()));
        const Index columns = shape.back();
        if (l == 0) problem.widths.push_back(columns);
        require(columns == problem.widths.back(), "weights must fit each other");
        problem.widths.push_back(shape[shape.size() - 2]);
        problem.weights.push_back(
            run_array<double>(weights[l], "weights", run_shape, {problem.widths.back(), columns}));
    }
    const Index n_inputs = problem.widths.front();
    problem.n_seen = n_inputs;
    if (!seen.is_none()) {
        const auto columns = py::cast<py::array>(seen);
        problem.n_seen = columns.ndim() == 0 ? 0 : columns.shape(columns.ndim() - 1);
        problem.seen = run_array<double>(columns, "seen", run_shape, {n_inputs, problem.n_seen});
        require(problem.n_seen <= n_inputs, "seen must have at most as many columns as rows");
    }
    const auto n_layers = static_cast<Index>(weights.size());
    Subspaces out;
    py::list bases;
    const auto add = [&](Index n, Index n_columns) {
        auto basis = nan_array<double>(run_shape, {n, n_columns});
        bases.append(basis);
        return basis.mutable_data();
    };
    out.unseen = add(n_inputs, std::min(n_inputs - problem.n_seen, most));
    for (std::size_t l = 1; l < weights.size(); ++l)
        out.hidden.push_back(add(problem.widths[l], problem.room(l)));
    std::vector<Index> shape = run_shape;
    shape.push_back(n_layers);
    py::array_t<std::int64_t> ranks(shape);
    out.ranks = ranks.mutable_data();
    run_interruptible(n_threads, py::none(),
                      [&](const Control& control) { find_subspaces(problem, out, control); });
    return py::make_tuple(bases, ranks);
}

}  // namespace

void register_reduction(py::module_& m) {
    m.def("subspaces", &subspaces, py::arg("weights"), py::arg("seen"), py::kw_only(),
          py::arg("most"), py::arg("run_shape"), py::arg("n_threads"),
          "Bases of what is seen of the inputs besides, and of the hidden spaces; their ranks.");
    m.def(
        "symmetric_eigenvectors",
        [](const py::array& matrix, int n_threads) {
            require(matrix.ndim() >= 2, "matrix must have at least 2 axes");
            const std::vector<Index> shape = shape_of(matrix);
            const std::vector<Index> runs(shape.begin(), shape.end() - 2);
            const Index n = shape.back();
            const auto a = run_array<double>(matrix, "matrix", runs, {n, n});
            auto values = nan_array<double>(runs, {n});
            auto vectors = nan_array<double>(runs, {n, n});
            double* const s = values.mutable_data();
            double* const v = vectors.mutable_data();
            run_interruptible(n_threads, py::none(), [&](const Control& control) {
                symmetric_eigenvectors(a, runs, n, s, v, control);
            });
            return py::make_tuple(values, vectors);
        },
        py::arg("matrix"), py::kw_only(), py::arg("n_threads"),
        "Eigenvalues, ascending, and eigenvectors as columns, run by run.");
}

}  // namespace linnet::bindings
