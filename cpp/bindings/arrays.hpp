// NumPy arrays <-> plain pointers. The only code that knows both.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "linnet/index.hpp"

namespace linnet::bindings {

namespace py = pybind11;

inline std::string shape_text(const std::vector<Index>& shape) {
    std::string text = "(";
    for (std::size_t k = 0; k < shape.size(); ++k) {
        text += (k == 0 ? "" : ", ") + std::to_string(shape[k]);
    }
    return text + (shape.size() == 1 ? ",)" : ")");
}

inline std::vector<Index> shape_of(const py::array& array) {
    return {array.shape(), array.shape() + array.ndim()};
}

/// A read-only view of an array of shape (*run_shape, *inner): run axes may have any stride, 0
/// included, the inner axes are contiguous. The array must outlive the view. Nothing is converted
/// or copied.
template <class T>
RunArray<T> run_array(const py::array& array, const char* name, const std::vector<Index>& run_shape,
                      const std::vector<Index>& inner) {
    if (!py::isinstance<py::array_t<T>>(array)) {
        throw py::type_error(std::string(name) + " must have dtype " +
                             py::str(py::dtype::of<T>()).cast<std::string>() + ", got " +
                             py::str(array.dtype()).cast<std::string>());
    }
    std::vector<Index> expected = run_shape;
    expected.insert(expected.end(), inner.begin(), inner.end());
    if (shape_of(array) != expected) {
        throw py::value_error(std::string(name) + " must have shape " + shape_text(expected) +
                              ", got " + shape_text(shape_of(array)));
    }
    const auto item = static_cast<Index>(sizeof(T));
    Index contiguous = item;
    for (std::size_t k = inner.size(); k-- > 0;) {
        const auto axis = static_cast<py::ssize_t>(run_shape.size() + k);
        if (inner[k] > 1 && array.strides(axis) != contiguous) {
            throw py::value_error(std::string(name) + " must be contiguous within a run");
        }
        contiguous *= inner[k];
    }
    if (reinterpret_cast<std::uintptr_t>(array.data()) % alignof(T) != 0)
        throw py::value_error(std::string(name) + " is not aligned");
    RunArray<T> view;
    view.data = static_cast<const T*>(array.data());
    for (std::size_t k = 0; k < run_shape.size(); ++k) {
        const Index stride = array.strides(static_cast<py::ssize_t>(k));
        if (stride % item != 0) throw py::value_error(std::string(name) + " is not aligned");
        view.strides.push_back(run_shape[k] > 1 ? stride / item : 0);
    }
    return view;
}

/// Arrays side by side in memory and aligned: what is neither is copied on the way in.
template <class T>
using Packed = py::array_t<T, py::array::c_style | py::detail::npy_api::NPY_ARRAY_ALIGNED_>;
using Numbers = Packed<double>;

/// The entries of an array of n numbers.
inline const double* values(const Numbers& array, const char* name, Index n) {
    return run_array<double>(array, name, {}, {n}).data;
}

/// A new array of shape (*run_shape, *inner), every entry NaN.
template <class T>
py::array_t<T> nan_array(const std::vector<Index>& run_shape, const std::vector<Index>& inner) {
    std::vector<Index> shape = run_shape;
    shape.insert(shape.end(), inner.begin(), inner.end());
    py::array_t<T> array(shape);
    // New memory takes its time: Ctrl-C is looked at between pieces.
    constexpr Index piece = 1 << 20;
    for (Index done = 0; done < array.size(); done += piece) {
        if (done > 0 && PyErr_CheckSignals() != 0) throw py::error_already_set();
        std::fill_n(array.mutable_data() + done, std::min<Index>(piece, array.size() - done),
                    std::numeric_limits<T>::quiet_NaN());
    }
    return array;
}

}  // namespace linnet::bindings
