// Exits with the highest level of x86-64 that this processor runs; 0: none.
#include "levels.hpp"

int main() { return linnet::level_of_processor(); }
