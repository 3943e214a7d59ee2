// Exits with the highest level of x86-64 that this processor runs; 0: none.
#include "levels.hpp"

int main() {
    const auto levels = linnet::supported_levels();
    return levels.empty() ? 0 : levels.back();
}
