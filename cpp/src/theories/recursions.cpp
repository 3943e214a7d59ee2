#include "linnet/recursions.hpp"

#include <algorithm>
#include <cmath>

namespace linnet {

namespace {

constexpr std::int64_t ask_every = 1 << 16;

/// Call advance() until each of `steps` has been taken and write(k) there, for one mode.
template <class Advance, class Write>
bool walk(const std::vector<std::int64_t>& steps, const StopAsking& stop, const Advance& advance,
          const Write& write) {
    std::int64_t at = 0;
    for (std::size_t k = 0; k < steps.size(); ++k) {
        while (at < steps[k]) {
            const std::int64_t to = std::min(steps[k], at + ask_every);
            for (; at < to; ++at) advance();
            if (stop()) return false;
        }
        write(static_cast<Index>(k));
    }
    return true;
}

double power(double base, Index exponent) {
    double result = 1;
    for (Index i = 0; i < exponent; ++i) result *= base;
    return result;
}

}  // namespace

bool logit_descent(Index n, const double* logit, const double* rate,
                   const std::vector<std::int64_t>& steps, double* out, const StopAsking& stop) {
    const auto n_steps = static_cast<Index>(steps.size());
    for (Index i = 0; i < n; ++i) {
        double z = logit[i];
        double lost = 0;  // compensated: z is a sum of many small terms
        const double x = rate[i];
        const auto advance = [&] {
            // sigma - lam w and lam w, times the step size
            const double u = x / (1 + std::exp(-z));
            const double v = x / (1 + std::exp(z));
            const double change = std::log1p(-v * (2 + u)) - 2 * std::log1p(u) - lost;
            const double next = z + change;
            lost = (next - z) - change;
            z = next;
        };
        if (!walk(steps, stop, advance, [&](Index k) { out[i * n_steps + k] = z; })) return false;
    }
    return true;
}

bool factor_descent(Index n, const double* first, const double* second, const double* step_size,
                    const double* sigma, const double* lam, const std::vector<std::int64_t>& steps,
                    double* out, const StopAsking& stop) {
    const auto n_steps = static_cast<Index>(steps.size());
    for (Index i = 0; i < n; ++i) {
        double a = first[i];
        double b = second[i];
        const auto advance = [&] {
            const double move = step_size[i] * (sigma[i] - lam[i] * a * b);
            const double next = a + move * b;
            b += move * a;
            a = next;
        };
        const auto write = [&](Index k) {
            out[i * n_steps + k] = a;
            out[(n + i) * n_steps + k] = b;
        };
        if (!walk(steps, stop, advance, write)) return false;
    }
    return true;
}

bool layer_descent(Index n, const double* layer, const double* step_size, const double* sigma,
                   const double* lam, Index n_layers, const std::vector<std::int64_t>& steps,
                   double* out, const StopAsking& stop) {
    const auto n_steps = static_cast<Index>(steps.size());
    for (Index i = 0; i < n; ++i) {
        double a = layer[i];
        const auto advance = [&] {
            const double below = power(a, n_layers - 1);
            a += step_size[i] * below * (sigma[i] - lam[i] * below * a);
        };
        if (!walk(steps, stop, advance, [&](Index k) { out[i * n_steps + k] = a; })) return false;
    }
    return true;
}

}  // namespace linnet
