#include "linnet/info.hpp"

#include <chrono>

#include "base/parallel.hpp"
#include "base/simd.hpp"

#ifndef LINNET_ISA
#define LINNET_ISA "generic"
#endif

namespace linnet {

const char* instruction_set() { return LINNET_ISA; }

int lanes_of_double() { return native_lanes<double>; }

template <class T>
double fma_peak(int n_threads, double seconds) {
    using V = Pack<T, native_lanes<T>>;
    // more than latency times units; all fit in 16 registers beside the factors
    constexpr int chains = 12;
    constexpr int block = 20000;
    Progress progress;
    const auto start = std::chrono::steady_clock::now();
    const auto elapsed = [&] {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    };
    std::atomic<std::int64_t> blocks{0};
    std::atomic<int> sink{0};
    Control control;
    control.n_threads = n_threads;
    run_workers(control, progress, [&](int worker, Pulse&) {
        V x[chains];
        for (int c = 0; c < chains; ++c) x[c] = broadcast<V>(static_cast<T>(1 + worker));
        const V factor = broadcast<V>(static_cast<T>(0.999));
        const V term = broadcast<V>(static_cast<T>(1e-3));
        do {  // at least once, however late this thread has started
            for (int i = 0; i < block; ++i) {
#pragma GCC unroll 16
                for (int c = 0; c < chains; ++c) x[c] = fma(x[c], factor, term);
            }
            blocks.fetch_add(1, std::memory_order_relaxed);
        } while (elapsed() < seconds);
        T sum{};
        for (int c = 0; c < chains; ++c) sum += x[c][0];
        sink.fetch_add(sum > 0 ? 1 : 0);  // so that nothing is optimised away
    });
    const double flops =
        2.0 * native_lanes<T> * chains * block * static_cast<double>(blocks.load());
    return sink.load() > 0 ? flops / elapsed() : 0;
}

template double fma_peak<double>(int, double);
template double fma_peak<float>(int, double);

}  // namespace linnet
