#include "register.hpp"

// One module per instruction set: the build defines its name.
PYBIND11_MODULE(LINNET_MODULE, m, pybind11::mod_gil_not_used()) {
    m.doc() = "Compiled core of linnet_fast.";
    linnet::bindings::register_algebra(m);
    linnet::bindings::register_train(m);
    linnet::bindings::register_recursions(m);
    linnet::bindings::register_reduced(m);
    linnet::bindings::register_reduction(m);
    linnet::bindings::register_kernel_cost(m);
    linnet::bindings::register_info(m);
}
