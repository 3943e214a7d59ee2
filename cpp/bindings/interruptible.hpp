// Long calls without the interpreter's lock that Ctrl-C ends, and checks of arguments.
#pragma once

#include <pybind11/pybind11.h>

#include <string>

#include "calls.hpp"
#include "linnet/index.hpp"
#include "unlocked.hpp"

namespace linnet::bindings {

namespace py = pybind11;

inline void require(bool condition, const std::string& text) {
    if (!condition) throw py::value_error(text);
}

inline void require(bool condition, const char* text) {
    if (!condition) throw py::value_error(text);
}

inline void require_threads(int n_threads) {
    require(n_threads >= 1, "n_threads must be at least 1, got " + std::to_string(n_threads));
    require(n_threads <= 1 << 15,
            "n_threads must be at most 32768, got " + std::to_string(n_threads));
}

/// Call work(control) without the interpreter's lock, and raise what a signal, `progress`, a
/// function of the work done or None, or a function that the work calls raised.
template <class Work>
void run_interruptible(int n_threads, const py::object& progress, const Work& work,
                       Calls* calls = nullptr) {
    require_threads(n_threads);
    Control control;
    control.n_threads = n_threads;
    control.may_fork = !progress.is_none() || (calls != nullptr && calls->may_fork());
    bool raised = false;
    control.poll = [&](std::int64_t done) {
        if (calls != nullptr && calls->are_over()) return true;
        return with_lock([&] {
            // An error is left set for the calling thread to pick up: nothing is thrown across the
            // workers. The caller may poll again while it waits for them.
            if (raised) return true;
            if (PyErr_CheckSignals() != 0) {
                raised = true;
            } else if (!progress.is_none()) {
                PyObject* const result =
                    PyObject_CallFunction(progress.ptr(), "L", static_cast<long long>(done));
                raised = result == nullptr;
                Py_XDECREF(result);
            }
            if (raised && calls != nullptr) calls->end();
            return raised;
        });
    };
    // The views stay valid: the caller holds the arrays, and no reference count is touched in there.
    try {
        without_lock([&] { work(control); });
    } catch (const Calls::Over&) {  // its reason is known
    }
    if (raised) throw py::error_already_set();
    if (calls != nullptr) calls->rethrow();
}

}  // namespace linnet::bindings
