#include <atomic>
#include <cstdlib>
#include <exception>
#include <new>
#include <string>

#include "base/pool.hpp"
#include "check.hpp"
#include "linnet/info.hpp"

namespace {

std::atomic<long> n_allocations{0};

bool runs_here() {
#if defined(__x86_64__) && !defined(_WIN32)
    const std::string isa = linnet::instruction_set();
    __builtin_cpu_init();
    if (isa == "v4") return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl");
    if (isa == "v3") return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
    return true;
}

void* counted(std::size_t size, std::size_t alignment) {
    n_allocations.fetch_add(1);
    void* const p =
        alignment == 0
            ? std::malloc(size == 0 ? 1 : size)
            : std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
    if (p == nullptr) throw std::bad_alloc();
    return p;
}

}  // namespace

// Every form that the standard library uses, or a sanitizer's own is freed by ours: std::stable_sort
// takes the one that does not throw.
void* operator new(std::size_t size) { return counted(size, 0); }
void* operator new(std::size_t size, const std::nothrow_t& /*tag*/) noexcept {
    n_allocations.fetch_add(1);
    return std::malloc(size == 0 ? 1 : size);
}
void* operator new(std::size_t size, std::align_val_t alignment) {
    return counted(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, const std::nothrow_t& /*tag*/) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }

long linnet::tests::allocations() { return n_allocations.load(); }

int main() {
    if (!runs_here()) {
        std::printf("this processor cannot run %s\n", linnet::instruction_set());
        return 77;
    }
    // What a process has once is there before a test counts allocations.
    linnet::ThreadPool::of_process();
    int n_failed = 0;
    for (const auto& test : linnet::tests::cases()) {
        const int before = linnet::tests::failures();
        try {
            test.body();
        } catch (const std::exception& error) {
            linnet::tests::check(false, std::string("unexpected exception: ") + error.what(),
                                 test.name, 0);
        }
        const bool passed = linnet::tests::failures() == before;
        n_failed += passed ? 0 : 1;
        std::printf("%-60s %s\n", test.name, passed ? "ok" : "FAILED");
    }
    std::printf("%s: %d passed, %d failed\n", linnet::instruction_set(),
                static_cast<int>(linnet::tests::cases().size()) - n_failed, n_failed);
    return n_failed == 0 ? 0 : 1;
}
