// Which instruction sets a processor runs: for the module that Python asks, and for the build.
#pragma once

#include <initializer_list>

#if defined(__x86_64__) && !defined(_WIN32)
#include <cpuid.h>
#endif

namespace linnet {

#if defined(__x86_64__) && !defined(_WIN32)

/// What the processor says of itself. Asked by its instruction: what compilers offer for that depends on their
/// runtime, and that of `zig c++` answers nothing.
class Processor {
public:
    Processor() {
        unsigned unused = 0;
        __get_cpuid(1, &unused, &unused, &basic_, &unused);
        __get_cpuid(0x80000001, &unused, &unused, &further_, &unused);
        __get_cpuid_count(7, 0, &unused, &extended_, &unused, &unused);
        if (has(basic_, {27})) {  // there is a register that says which registers the system keeps
            unsigned high = 0;
            __asm__ volatile("xgetbv" : "=a"(kept_), "=d"(high) : "c"(0));
        }
    }

    /// SSE3, SSSE3, CMPXCHG16B, SSE4.1, SSE4.2, POPCNT; LAHF.
    bool runs_v2() const { return has(basic_, {0, 9, 13, 19, 20, 23}) && has(further_, {0}); }

    /// FMA, MOVBE, AVX, F16C; LZCNT; BMI1, AVX2, BMI2; registers of 16 and of 32 bytes.
    bool runs_v3() const {
        return runs_v2() && has(basic_, {12, 22, 28, 29}) && has(further_, {5}) &&
               has(extended_, {3, 5, 8}) && has(kept_, {1, 2});
    }

    /// AVX-512 F, DQ, CD, BW, VL; masks, and registers of 64 bytes.
    bool runs_v4() const {
        return runs_v3() && has(extended_, {16, 17, 28, 30, 31}) && has(kept_, {5, 6, 7});
    }

private:
    static bool has(unsigned word, std::initializer_list<int> bits) {
        for (const int bit : bits)
            if ((word >> bit & 1U) == 0) return false;
        return true;
    }

    unsigned basic_ = 0;
    unsigned further_ = 0;
    unsigned extended_ = 0;
    unsigned kept_ = 0;
};

#endif

/// The highest level of x86-64 that this processor runs: 4, 3, 2, or 0.
inline int level_of_processor() {
#if defined(__x86_64__) && !defined(_WIN32)
    const Processor processor;
    if (processor.runs_v4()) return 4;
    if (processor.runs_v3()) return 3;
    if (processor.runs_v2()) return 2;
#endif
    return 0;
}

}  // namespace linnet
