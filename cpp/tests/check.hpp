// The few lines of a test framework that these tests need.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

namespace linnet::tests {

struct Case {
    const char* name;
    void (*body)();
};

inline std::vector<Case>& cases() {
    static std::vector<Case> all;
    return all;
}
inline int& failures() {
    static int count = 0;
    return count;
}
struct Register {
    Register(const char* name, void (*body)()) { cases().push_back({name, body}); }
};
inline bool check(bool condition, const std::string& what, const char* file, int line) {
    if (!condition) {
        ++failures();
        if (failures() <= 20) std::fprintf(stderr, "%s:%d: failed: %s\n", file, line, what.c_str());
    }
    return condition;
}

/// Calls of operator new since the program began.
long allocations();

}  // namespace linnet::tests

#define TEST(name)                                                                                 \
    static void name();                                                                            \
    static const linnet::tests::Register register_##name(#name, name);                             \
    static void name()
#define CHECK(condition) linnet::tests::check((condition), #condition, __FILE__, __LINE__)
#define CHECK_MESSAGE(condition, message)                                                          \
    linnet::tests::check((condition), (message), __FILE__, __LINE__)
