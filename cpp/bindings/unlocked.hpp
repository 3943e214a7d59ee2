// Work without the interpreter's lock.
#pragma once

#include <pybind11/pybind11.h>

#include <exception>

#include "base/float_state.hpp"

#if defined(__linux__) && defined(__GLIBCXX__)
#include <cxxabi.h>
#include <unistd.h>
#endif

namespace linnet::bindings {

/// Call work(). Until Python 3.13 an interpreter that ends makes daemon threads which ask for its
/// lock leave by an unwinding that must not be caught, and that cannot cross a team of threads:
/// they wait here for the end of the process instead, as they do from Python 3.14 on.
template <class Work>
auto hold_at_exit(const Work& work) {
#if defined(__linux__) && defined(__GLIBCXX__)
    try {
        return work();
    } catch (abi::__forced_unwind&) {
        while (true) pause();
    }
#else
    return work();
#endif
}

/// Call work() with the lock.
template <class Work>
auto with_lock(const Work& work) {
    return hold_at_exit([&] {
        const pybind11::gil_scoped_acquire lock;
        return work();
    });
}

/// Call work() without the lock, rounding as usual.
template <class Work>
void without_lock(const Work& work) {
    PyThreadState* const state = PyEval_SaveThread();
    std::exception_ptr failure;
    try {
        const UsualFloats usual;
        work();
    } catch (...) {
        failure = std::current_exception();
    }
    hold_at_exit([&] { PyEval_RestoreThread(state); });
    if (failure) std::rethrow_exception(failure);
}

}  // namespace linnet::bindings
