// Functions of the user that a call of the core calls, from any of its threads.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pythread.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string>

#include "base/pool.hpp"
#include "linnet/loss.hpp"
#include "unlocked.hpp"

namespace linnet::bindings {

namespace py = pybind11;

/// What the functions have in common: the first error, after which none of them is called again.
class Calls {
public:
    /// Thrown through the workers. It holds no object of Python: they drop it without the lock.
    struct Over : std::exception {
        const char* what() const noexcept override { return "a function has raised an error"; }
    };

    bool are_over() const { return is_over_.load(std::memory_order_relaxed); }
    void end() { is_over_.store(true); }
    bool may_fork() const { return may_fork_; }
    void set_may_fork() { may_fork_ = true; }

    /// Call work(), which uses Python, from any thread without the lock. Throws Over.
    template <class Work>
    void call(const Work& work) {
        if (are_over()) throw Over{};
        const bool is_done = with_lock([&] {
            if (are_over()) return false;
            try {
                work();
                return true;
            } catch (const py::error_already_set& error) {
                keep(error);
            } catch (const std::exception& error) {
                PyErr_SetString(PyExc_RuntimeError, error.what());
                keep(py::error_already_set());
            }
            return false;
        });
        if (n_forks() != n_forks_) leave_child();
        if (!is_done) throw Over{};
    }
    /// Look at signals now and then, on behalf of functions that do not. Throws Over.
    void look_at_signals() {
        if (are_over()) throw Over{};
        if (PyThread_get_thread_ident() != caller_) return;
        const auto now = std::chrono::steady_clock::now();
        if (now - last_ < std::chrono::milliseconds(50)) return;
        last_ = now;
        call([] {
            if (PyErr_CheckSignals() != 0) throw py::error_already_set();
        });
    }
    /// With the lock, on the thread that made this: raise what was raised, the object itself.
    void rethrow() {
        if (error_) throw py::error_already_set(*error_);
    }

private:
    void keep(const py::error_already_set& error) {
        if (!error_) error_ = error;
        end();
    }
    /// The function has forked, and this is the child, where only this thread is.
    void leave_child() const {
        // Of another thread than the calling one nobody would ever hear.
        if (PyThread_get_thread_ident() != caller_) std::_Exit(1);
        throw std::runtime_error(
            "a process that was forked by the function of a loss must not come back from it: the "
            "threads of the training are in the process that made it");
    }

    std::atomic<bool> is_over_{false};
    bool may_fork_ = false;
    std::optional<py::error_already_set> error_;  // read and written with the lock
    const unsigned n_forks_ = n_forks();
    const unsigned long caller_ = PyThread_get_thread_ident();
    std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

/// Call a function of Python with arrays of products, and of parameters if there are any.
inline void call_python(PyObject* function, Index n, Index n_out, Index n_in, Index n_parameters,
                        const double* products, const double* parameters, double* values,
                        double* gradients) {
    // New arrays: the function may keep them, and write into them.
    py::array_t<double> given({n, n_out, n_in});
    std::copy_n(products, given.size(), given.mutable_data());
    py::object rows = py::none();
    if (parameters != nullptr) {
        py::array_t<double> own({n, n_parameters});
        std::copy_n(parameters, own.size(), own.mutable_data());
        rows = std::move(own);
    }
    PyObject* const result = hold_at_exit(
        [&] { return PyObject_CallFunctionObjArgs(function, given.ptr(), rows.ptr(), nullptr); });
    if (result == nullptr) throw py::error_already_set();
    const auto pair = py::reinterpret_steal<py::object>(result).cast<py::tuple>();
    using Doubles = py::array_t<double, py::array::c_style>;
    const auto take = [&](std::size_t k, Index size, double* to) {
        if (pair.size() != 2 || !Doubles::check_(pair[k]) || pair[k].cast<Doubles>().size() != size)
            throw std::runtime_error("a function must return values and gradients");
        std::copy_n(pair[k].cast<Doubles>().data(), size, to);
    };
    take(0, n, values);
    take(1, n * n_out * n_in, gradients);
}

/// A function in the convention of scipy.LowLevelCallable, of one product.
class CompiledFunction {
public:
    /// capsule: its name is a signature of four to six arguments, checked already: out, in, product,
    /// gradient, then parameters where there are any, then, if it takes that, data of its own.
    CompiledFunction(PyObject* capsule, bool has_parameters) : has_parameters_(has_parameters) {
        const char* const signature = PyCapsule_GetName(capsule);
        function_ = PyCapsule_GetPointer(capsule, signature);
        if (function_ == nullptr) throw py::error_already_set();
        data_ = PyCapsule_GetContext(capsule);
        if (data_ == nullptr && PyErr_Occurred() != nullptr) throw py::error_already_set();
        const std::string text = signature == nullptr ? "" : signature;
        const auto n_arguments = 1 + std::count(text.begin(), text.end(), ',');
        const int n_least = has_parameters ? 5 : 4;
        if (n_arguments != n_least && n_arguments != n_least + 1)
            throw py::value_error("function has another signature: " + text);
        takes_data_ = n_arguments == n_least + 1;
    }

    double operator()(std::intptr_t n_out, std::intptr_t n_in, const double* product,
                      double* gradient, const double* parameters) const {
        using Read = const double*;
        if (has_parameters_ && takes_data_)
            return as<double (*)(std::intptr_t, std::intptr_t, Read, double*, Read, void*)>()(
                n_out, n_in, product, gradient, parameters, data_);
        if (has_parameters_)
            return as<double (*)(std::intptr_t, std::intptr_t, Read, double*, Read)>()(
                n_out, n_in, product, gradient, parameters);
        if (takes_data_)
            return as<double (*)(std::intptr_t, std::intptr_t, Read, double*, void*)>()(
                n_out, n_in, product, gradient, data_);
        return as<double (*)(std::intptr_t, std::intptr_t, Read, double*)>()(n_out, n_in, product,
                                                                             gradient);
    }

private:
    template <class Function>
    Function as() const {
        return reinterpret_cast<Function>(function_);
    }

    void* function_;
    void* data_;
    bool has_parameters_;
    bool takes_data_ = false;
};

/// The function of a loss: a callable of Python, which takes all products at once and checks what it
/// returns, or the capsule of a compiled one. It is borrowed: its owner must outlive what is made.
inline LossFunction loss_function(const py::handle& value, const LossData& loss, Calls& calls) {
    const Index n_out = loss.n_outputs;
    const Index n_in = loss.n_inputs;
    const bool has_parameters = loss.array("parameters").data != nullptr;
    const Index n_parameters = has_parameters ? loss.sample_extent : 0;
    PyObject* const object = value.ptr();
    if (PyCapsule_CheckExact(object) != 0) {
        const CompiledFunction compiled(object, has_parameters);
        return {[=, &calls](Index n, const double* products, const double* parameters,
                            double* values, double* gradients) {
                    calls.look_at_signals();
                    for (Index k = 0; k < n; ++k) {
                        values[k] = compiled(
                            n_out, n_in, products + k * n_out * n_in, gradients + k * n_out * n_in,
                            has_parameters ? parameters + k * n_parameters : nullptr);
                    }
                },
                false};
    }
    if (PyCallable_Check(object) == 0) throw py::type_error("function must be callable");
    calls.set_may_fork();
    return {[=, &calls](Index n, const double* products, const double* parameters, double* values,
                        double* gradients) {
                calls.call([&] {
                    call_python(object, n, n_out, n_in, n_parameters, products, parameters, values,
                                gradients);
                });
            },
            true};
}

}  // namespace linnet::bindings
