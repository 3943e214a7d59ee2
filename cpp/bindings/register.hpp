// One function per bind_<concept>.cpp.
#pragma once

#include <pybind11/pybind11.h>

namespace linnet::bindings {

void register_algebra(pybind11::module_& m);
void register_train(pybind11::module_& m);
void register_recursions(pybind11::module_& m);
void register_reduced(pybind11::module_& m);
void register_reduction(pybind11::module_& m);
void register_kernel_cost(pybind11::module_& m);
void register_info(pybind11::module_& m);

}  // namespace linnet::bindings
