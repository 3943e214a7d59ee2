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
