#include "linnet/index.hpp"

namespace linnet {

const char* message(Status status) {
    switch (status) {
        case Status::completed:
            return "all steps were taken";
        case Status::converged:
            return "a stop rule was met";
        case Status::diverged:
            return "the weights became infinite or NaN";
        case Status::exhausted:
            return "the integrator took all the steps it may take before the end";
    }
    return "unknown status";
}

}  // namespace linnet
