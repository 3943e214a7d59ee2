#include <map>
#include <string>
#include <vector>

#include "arrays.hpp"
#include "interruptible.hpp"
#include "linnet/algebra.hpp"
#include "linnet/elementary.hpp"
#include "register.hpp"

namespace linnet::bindings {

namespace {

/// An array of shape (*run_shape, rows, columns).
struct Matrices {
    Matrices(const py::array& array, const char* name) {
        require(array.ndim() >= 2, std::string(name) + " must have at least 2 axes, got " +
                                       std::to_string(array.ndim()));
        const std::vector<Index> shape = shape_of(array);
        run_shape.assign(shape.begin(), shape.end() - 2);
        rows = shape[shape.size() - 2];
        columns = shape.back();
        view = run_array<double>(array, name, run_shape, {rows, columns});
    }
    std::vector<Index> run_shape;
    Index rows, columns;
    RunArray<double> view;
};

Matrices tall(const py::array& array, const char* name) {
    Matrices a(array, name);
    require(a.rows >= a.columns, std::string(name) + " must have at least as many rows as columns");
    return a;
}

/// Everything there is to be from 0 to `most`.
void check_places(const py::array& array, Index most, const char* name) {
    const Packed<std::int64_t> all(array);
    for (Index i = 0; i < all.size(); ++i)
        require(all.data()[i] >= 0 && all.data()[i] <= most,
                std::string(name) + " must be from 0 to " + std::to_string(most) + ", got " +
                    std::to_string(all.data()[i]));
}

}  // namespace

void register_algebra(py::module_& m) {
    m.def(
        "cross_products",
        [](const py::array& first, const py::array& second, int n_threads) {
            const Matrices a(first, "first");
            const Matrices b(second, "second");
            require(a.run_shape == b.run_shape && a.rows == b.rows,
                    "first and second must have the same run axes and rows");
            auto out = nan_array<double>(a.run_shape, {a.columns, b.columns});
            double* const to = out.mutable_data();
            run_interruptible(n_threads, py::none(), [&](const Control& control) {
                cross_products(a.view, b.view, a.run_shape, a.rows, a.columns, b.columns, to,
                               control);
            });
            return out;
        },
        py::arg("first"), py::arg("second"), py::kw_only(), py::arg("n_threads"),
        "first^T second, run by run.");
    m.def(
        "orthonormal_columns",
        [](const py::array& matrix, int n_threads) {
            const Matrices a = tall(matrix, "matrix");
            auto out = nan_array<double>(a.run_shape, {a.rows, a.columns});
            double* const to = out.mutable_data();
            run_interruptible(n_threads, py::none(), [&](const Control& control) {
                orthonormal_columns(a.view, a.run_shape, a.rows, a.columns, to, control);
            });
            return out;
        },
        py::arg("matrix"), py::kw_only(), py::arg("n_threads"),
        "Q of the QR decomposition with a diagonal of R that is not negative, run by run.");
    m.def(
        "singular_vectors",
        [](const py::array& matrix, int n_threads) {
            const Matrices a = tall(matrix, "matrix");
            auto left = nan_array<double>(a.run_shape, {a.rows, a.columns});
            auto values = nan_array<double>(a.run_shape, {a.columns});
            auto right = nan_array<double>(a.run_shape, {a.columns, a.columns});
            double* const u = left.mutable_data();
            double* const s = values.mutable_data();
            double* const v = right.mutable_data();
            run_interruptible(n_threads, py::none(), [&](const Control& control) {
                singular_vectors(a.view, a.run_shape, a.rows, a.columns, u, s, v, control);
            });
            return py::make_tuple(left, values, right);
        },
        py::arg("matrix"), py::kw_only(), py::arg("n_threads"),
        "Left vectors, singular values and right vectors, run by run.");
    m.def(
        "pivoted_factor",
        [](const py::array& matrix, int n_threads) {
            const Matrices a = tall(matrix, "matrix");
            require(a.rows == a.columns, "matrix must be square");
            auto factor = nan_array<double>(a.run_shape, {a.rows, a.rows});
            const auto counts = [&](const std::vector<Index>& inner) {
                std::vector<Index> shape = a.run_shape;
                shape.insert(shape.end(), inner.begin(), inner.end());
                return py::array_t<std::int64_t>(shape);
            };
            auto pivots = counts({a.rows});
            auto ranks = counts({});
            double* const f = factor.mutable_data();
            std::int64_t* const p = pivots.mutable_data();
            std::int64_t* const r = ranks.mutable_data();
            run_interruptible(n_threads, py::none(), [&](const Control& control) {
                pivoted_factor(a.view, a.run_shape, a.rows, f, p, r, control);
            });
            return py::make_tuple(factor, pivots, ranks);
        },
        py::arg("matrix"), py::kw_only(), py::arg("n_threads"),
        "F with F^T F = matrix, the order of its pivots, and its rank, run by run.");
    m.def(
        "factored_least_squares",
        [](const py::array& factor, const py::array& pivots, const py::array& ranks,
           const py::array& cross, int n_threads) {
            const Matrices b(cross, "cross");
            const auto& runs = b.run_shape;
            const auto f = run_array<double>(factor, "factor", runs, {b.columns, b.columns});
            const auto p = run_array<std::int64_t>(pivots, "pivots", runs, {b.columns});
            const auto r = run_array<std::int64_t>(ranks, "ranks", runs, {});
            check_places(pivots, b.columns - 1, "pivots");
            check_places(ranks, b.columns, "ranks");
            auto solution = nan_array<double>(runs, {b.rows, b.columns});
            auto explained = nan_array<double>(runs, {b.rows, b.columns});
            auto left = nan_array<double>(runs, {b.columns});
            double* const s = solution.mutable_data();
            double* const e = explained.mutable_data();
            double* const l = left.mutable_data();
            run_interruptible(n_threads, py::none(), [&](const Control& control) {
                factored_least_squares(f, p, r, b.view, runs, b.columns, b.rows, s, e, l, control);
            });
            return py::make_tuple(solution, explained, left);
        },
        py::arg("factor"), py::arg("pivots"), py::arg("ranks"), py::arg("cross"), py::kw_only(),
        py::arg("n_threads"),
        "P with P F^T F = cross on the pivots, P F^T, what is left, run by run.");
    m.def(
        "elementary",
        [](const std::string& name, const py::array& values, int n_threads) {
            static const std::map<std::string, Elementary> known = {
                {"log", Elementary::log},
                {"log1p", Elementary::log1p},
                {"exp", Elementary::exp},
                {"expm1", Elementary::expm1},
                {"normal_quantile", Elementary::normal_quantile}};
            const auto found = known.find(name);
            require(found != known.end(), "name must be that of a function, got " + name);
            const std::vector<Index> shape = shape_of(values);
            const RunArray<double> x = run_array<double>(values, "values", {}, shape);
            auto out = nan_array<double>({}, shape);
            double* const to = out.mutable_data();
            run_interruptible(n_threads, py::none(), [&](const Control& control) {
                elementary(found->second, x.at(0, {}), out.size(), to, control);
            });
            return out;
        },
        py::arg("name"), py::arg("values"), py::kw_only(), py::arg("n_threads"),
        "An elementary function of numbers.");
}

}  // namespace linnet::bindings
