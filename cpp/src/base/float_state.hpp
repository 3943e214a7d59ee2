// How a thread rounds.
#pragma once

#include <cfenv>
#include <cstdint>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace linnet {

/// While it lives its thread rounds to nearest and keeps subnormal numbers, whatever other libraries
/// have set: results must not depend on that. Then the thread is as it was.
class UsualFloats {
public:
#if defined(__x86_64__) || defined(_M_X64)
    UsualFloats() : saved_(_mm_getcsr()) { _mm_setcsr(usual); }
    ~UsualFloats() { _mm_setcsr(saved_); }

private:
    static constexpr unsigned usual = 0x1f80;  // all exceptions masked, nothing else set
    unsigned saved_;
#elif defined(__aarch64__)
    UsualFloats() {
        asm volatile("mrs %0, fpcr" : "=r"(saved_));
        const std::uint64_t usual = 0;
        asm volatile("msr fpcr, %0" : : "r"(usual));
    }
    ~UsualFloats() { asm volatile("msr fpcr, %0" : : "r"(saved_)); }

private:
    std::uint64_t saved_ = 0;
#else
    UsualFloats() : saved_(std::fegetround()) { std::fesetround(FE_TONEAREST); }
    ~UsualFloats() { std::fesetround(saved_); }

private:
    int saved_;
#endif
public:
    UsualFloats(const UsualFloats&) = delete;
    UsualFloats& operator=(const UsualFloats&) = delete;
};

/// Does this thread round as everything here expects? Subnormal numbers are not looked at.
inline bool rounds_to_nearest() { return std::fegetround() == FE_TONEAREST; }

}  // namespace linnet
