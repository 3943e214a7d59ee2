// The table of a spherically symmetric law, from the tuple that is its `table` in Python.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>

#include "arrays.hpp"
#include "interruptible.hpp"
#include "linnet/spherical.hpp"

namespace linnet::bindings {

inline SphericalTable spherical_table_of(const py::tuple& fields) {
    require(fields.size() == 10, "table must have 10 fields");
    const auto numbers = [&](std::size_t field, const std::vector<Index>& shape, double* to) {
        const auto array = run_array<double>(fields[field].cast<py::array>(), "table", {}, shape);
        Index size = 1;
        for (const Index n : shape) size *= n;
        require(
            std::all_of(array.data, array.data + size, [](double x) { return std::isfinite(x); }),
            "table must be finite");
        std::copy_n(array.data, size, to);
    };
    SphericalTable table;
    table.scale = fields[0].cast<double>();
    table.kappa = fields[1].cast<double>();
    table.m2 = fields[2].cast<double>();
    table.low = fields[3].cast<double>();
    table.high = fields[4].cast<double>();
    table.split = fields[5].cast<Index>();
    int low = 0;
    int high = 0;
    require(std::isfinite(table.scale) && table.scale > 0 && std::isfinite(table.kappa) &&
                table.kappa > 0 && std::isfinite(table.m2) && table.m2 >= 0,
            "scale, kappa and m2 of a table must be positive");
    require(table.low > 0 && table.high > table.low && std::isfinite(table.high) &&
                std::frexp(table.low, &low) == 0.5 && std::frexp(table.high, &high) == 0.5,
            "low and high of a table must be powers of two");
    const Index n_pieces = (Index{high} - low) << SphericalTable::piece_bits;
    require(table.split >= 0 && table.split <= n_pieces, "split must be a piece of the table");
    const auto size = static_cast<std::size_t>(n_pieces) * SphericalTable::n_coefficients;
    table.gradient.resize(size);
    table.loss.resize(size);
    numbers(6, {n_pieces, SphericalTable::n_coefficients}, table.gradient.data());
    numbers(7, {n_pieces, SphericalTable::n_coefficients}, table.loss.data());
    numbers(8, {SphericalTable::n_series}, table.small.data());
    numbers(9, {SphericalTable::n_series}, table.large.data());
    return table;
}

}  // namespace linnet::bindings
