// Which instruction sets a processor runs: for the module that Python asks, and for the build.
#pragma once

#include <vector>

namespace linnet {

/// The levels of x86-64 that this processor runs, lowest first: 2, 3, 4.
inline std::vector<int> supported_levels() {
    std::vector<int> levels;
#if defined(__x86_64__) && !defined(_WIN32)
    __builtin_cpu_init();
    const bool v2 = __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("ssse3") &&
                    __builtin_cpu_supports("popcnt");
    const bool v3 = v2 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
    const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                    __builtin_cpu_supports("avx512vl");
    if (v2) levels.push_back(2);
    if (v3) levels.push_back(3);
    if (v4) levels.push_back(4);
#endif
    return levels;
}

}  // namespace linnet
