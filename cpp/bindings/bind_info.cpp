#include <pybind11/stl.h>

#include <Eigen/Core>

#include "arrays.hpp"
#include "base/float_state.hpp"
#include "base/parallel.hpp"
#include "interruptible.hpp"
#include "linnet/info.hpp"
#include "register.hpp"
#include "unlocked.hpp"

namespace linnet::bindings {

namespace {

std::string compiler() {
#if defined(__clang__)
    return "clang " __clang_version__;
#elif defined(__GNUC__)
    return "gcc " __VERSION__;
#else
    return "unknown";
#endif
}

}  // namespace

void register_info(py::module_& m) {
    m.def("build_info", [] {
        py::dict info;
        info["version"] = LINNET_VERSION;
        info["isa"] = instruction_set();
        info["float64_lanes"] = lanes_of_double();
        info["threads"] = thread_backend();
        info["compiler"] = compiler();
        info["eigen"] = std::to_string(EIGEN_WORLD_VERSION) + "." +
                        std::to_string(EIGEN_MAJOR_VERSION) + "." +
                        std::to_string(EIGEN_MINOR_VERSION);
        return info;
    });
    m.def(
        "default_threads", [] { return default_threads(); },
        "Threads that a parallel region would use by default.");
    m.def(
        "rounds_to_nearest", [] { return rounds_to_nearest(); },
        "Does the calling thread round as usual?");
    m.def(
        "fma_peak",
        [](int n_threads, double seconds, const std::string& dtype) {
            if (dtype != "float64" && dtype != "float32")
                throw py::value_error("dtype must be 'float64' or 'float32'");
            require_threads(n_threads);
            require(seconds >= 0 && seconds <= 60, "seconds must be from 0 to 60");
            double peak = 0;
            without_lock([&] {
                peak = dtype == "float64" ? fma_peak<double>(n_threads, seconds)
                                          : fma_peak<float>(n_threads, seconds);
            });
            return peak;
        },
        py::arg("n_threads"), py::arg("seconds"), py::arg("dtype"),
        "Floating-point operations per second of independent multiply-adds: what no kernel can "
        "exceed.");
}

}  // namespace linnet::bindings
