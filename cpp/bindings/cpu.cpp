// Which of the compiled cores this processor can run. Compiled for the baseline, like the
// interpreter itself, and without pybind11, which would take longer to compile than all of this.
#include <Python.h>

#include "levels.hpp"

namespace {

PyObject* supported_levels(PyObject* /*module*/, PyObject* /*none*/) {
    const int highest = linnet::level_of_processor();
    PyObject* const names = PyList_New(0);
    if (names == nullptr) return nullptr;
    for (int level = 2; level <= highest; ++level) {
        PyObject* const name = PyUnicode_FromFormat("v%d", level);
        const bool done = name != nullptr && PyList_Append(names, name) == 0;
        Py_XDECREF(name);
        if (!done) {
            Py_DECREF(names);
            return nullptr;
        }
    }
    return names;
}

PyMethodDef methods[] = {
    {"supported_levels", supported_levels, METH_NOARGS, "Levels of x86-64, lowest first."},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef_Slot slots[] = {
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, nullptr},
};

PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    "_cpu",
    "Instruction set levels of this processor.",
    0,
    methods,
    slots,
    nullptr,
    nullptr,
    nullptr,
};

}  // namespace

PyMODINIT_FUNC PyInit__cpu() { return PyModuleDef_Init(&module); }
