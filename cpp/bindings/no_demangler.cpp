// Where the C++ library is part of the module, its demangler of names would be, too, for the names of C++ types in
// messages that nobody sees. This takes its place, and says that no name can be read: names stay as they are.
#include <cstddef>

extern "C" char* __cxa_demangle(const char* /*name*/, char* /*buffer*/, std::size_t* /*size*/,
                                int* status) {
    constexpr int not_a_name = -2;
    if (status) *status = not_a_name;
    return nullptr;
}
