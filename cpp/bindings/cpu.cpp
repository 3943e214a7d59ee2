// Which of the compiled cores this processor can run. Compiled for the baseline, like the
// interpreter itself.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

PYBIND11_MODULE(_cpu, m, pybind11::mod_gil_not_used()) {
    m.doc() = "Instruction set levels of this processor.";
    m.def("supported_levels", [] {
        std::vector<std::string> levels;
#if defined(__x86_64__) && !defined(_WIN32)
        __builtin_cpu_init();
        const bool v2 = __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("ssse3") &&
                        __builtin_cpu_supports("popcnt");
        const bool v3 = v2 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                        __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
        const bool v4 = v3 && __builtin_cpu_supports("avx512f") &&
                        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
        if (v2) levels.emplace_back("v2");
        if (v3) levels.emplace_back("v3");
        if (v4) levels.emplace_back("v4");
#endif
        return levels;
    });
}
