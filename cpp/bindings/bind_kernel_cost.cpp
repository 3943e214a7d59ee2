#include <pybind11/stl.h>

#include <cmath>

#include "arrays.hpp"
#include "interruptible.hpp"
#include "linnet/kernel_cost.hpp"
#include "register.hpp"

namespace linnet::bindings {

void register_kernel_cost(py::module_& m) {
    m.def(
        "kernel_cost",
        [](const Numbers& spectra, Index extent, std::vector<Index> taps,
           std::vector<Index> dilations, std::vector<double> multiplicities, int n_threads) {
            constexpr Index most = Index{1} << 20;
            if (spectra.ndim() != 2 || spectra.shape(1) < 1) {
                throw py::value_error("spectra must have shape (n, n_frequencies), got " +
                                      shape_text(shape_of(spectra)));
            }
            require(extent >= 1 && extent <= most, "extent must be from 1 to 2**20");
            require(!taps.empty() && taps.size() == dilations.size() &&
                        taps.size() == multiplicities.size(),
                    "taps, dilations and multiplicities must be equally many, at least one");
            Index size = 0;
            for (std::size_t g = 0; g < taps.size(); ++g) {
                require(taps[g] >= 1 && taps[g] <= most && dilations[g] >= 1 &&
                            dilations[g] <= most,
                        "taps and dilations must be from 1 to 2**20");
                require(std::isfinite(multiplicities[g]) && multiplicities[g] > 0,
                        "multiplicities must be positive");
                size += taps[g];
            }
            // Tables of sines and cosines are that large, and so are matrices of every thread.
            require(spectra.shape(1) <= most && size <= (Index{1} << 28) / spectra.shape(1),
                    "taps times frequencies must be at most 2**28");
            require_threads(n_threads);
            KernelProblem problem;
            problem.extent = extent;
            problem.n_problems = spectra.shape(0);
            problem.n_frequencies = spectra.shape(1);
            problem.spectra = spectra.data();
            for (Index i = 0; i < problem.n_problems; ++i) {
                bool any = false;
                for (Index f = 0; f < problem.n_frequencies; ++f) {
                    const double x = problem.spectra[i * problem.n_frequencies + f];
                    require(std::isfinite(x) && x >= 0, "spectra must be finite and not negative");
                    any = any || x > 0;
                }
                require(any, "spectra must not be all zeros");
            }
            problem.taps = std::move(taps);
            problem.dilations = std::move(dilations);
            problem.multiplicities = std::move(multiplicities);
            Numbers upper(problem.n_problems);
            Numbers lower(problem.n_problems);
            Numbers kernels({problem.n_problems, size});
            const KernelResults results{upper.mutable_data(), lower.mutable_data(),
                                        kernels.mutable_data()};
            run_interruptible(n_threads, py::none(), [&](const Control& control) {
                kernel_cost(problem, results, control);
            });
            return py::make_tuple(upper, lower, kernels);
        },
        py::kw_only(), py::arg("spectra"), py::arg("extent"), py::arg("taps"), py::arg("dilations"),
        py::arg("multiplicities"), py::arg("n_threads"),
        "The convex problem of convolutional costs: logarithms of value and lower bound, kernels.");
}

}  // namespace linnet::bindings
