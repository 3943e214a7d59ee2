// What this build is and how fast the machine could be.
#pragma once

#include <cstdint>

namespace linnet {

/// Instruction set this module was compiled for: "v2", "v3", "v4" (levels of x86-64) or "generic".
const char* instruction_set();

/// Lanes of float64 side by side.
int lanes_of_double();

/// Multiply-adds per second that this machine reaches, counted as two operations each, on n_threads
/// threads.
template <class T>
double fma_peak(int n_threads, double seconds);

extern template double fma_peak<double>(int, double);
extern template double fma_peak<float>(int, double);

}  // namespace linnet
