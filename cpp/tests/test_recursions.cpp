// Scalar modes of descent: against the same recursion in long double, far from rest and near to it.
#include <cmath>

#include "check.hpp"
#include "linnet/recursions.hpp"

using namespace linnet;

namespace {

const std::vector<std::int64_t> steps{0, 1, 2, 7, 40, 200, 1000, 5000};

/// The factor y of a mode of strength sigma, all layers alike: y <- y + u, without any care.
struct Mode {
    long double start, sigma, step_size, momentum;
    Index n_layers;
    bool nesterov;

    std::vector<long double> layers() const {
        long double y = start;
        long double speed = 0;
        std::vector<long double> all;
        std::int64_t at = 0;
        for (const std::int64_t step : steps) {
            for (; at < step; ++at) {
                const auto depth = static_cast<long double>(n_layers);
                const long double pull =
                    step_size * std::pow(y, depth - 1) * (sigma - std::pow(y, depth));
                speed = momentum * speed + pull;
                y += nesterov ? pull + momentum * speed : speed;
            }
            all.push_back(y);
        }
        return all;
    }
    double drive() const {
        return static_cast<double>(step_size * sigma * std::pow(start, depth() - 2));
    }
    double brake() const {
        return static_cast<double>(step_size * std::pow(start, 2 * depth() - 2));
    }
    double rest() const { return static_cast<double>(std::pow(sigma, 1 / depth()) / start); }
    double gap() const { return static_cast<double>(1 - std::pow(start, depth()) / sigma); }
    long double depth() const { return static_cast<long double>(n_layers); }
};

void compare(const Mode& mode, const std::vector<double>& found, const char* what) {
    const std::vector<long double> wanted = mode.layers();
    for (std::size_t k = 0; k < steps.size(); ++k) {
        const auto expected = static_cast<double>(wanted[k] / mode.start);
        CHECK_MESSAGE(std::abs(found[k] / expected - 1) < 1e-11, what);
        const double gap = found[steps.size() + k];
        const auto rest = static_cast<double>(1 - std::pow(wanted[k], mode.depth()) / mode.sigma);
        if (!std::isnan(gap)) CHECK_MESSAGE(std::abs(gap - rest) < 1e-11, what);
    }
    CHECK(!std::isnan(found.back()));  // it has come near to rest
}

}  // namespace

TEST(balanced_modes_follow_their_recursion) {
    for (const Index n_layers : {2, 3, 5}) {
        for (const double start : {1e-2, 0.5, 1.3}) {
            const Mode mode{start, 2, 0.02L, 0, n_layers, false};
            if (n_layers == 5 && start < 0.1) continue;  // does not begin to move
            std::vector<double> out(2 * steps.size());
            const double drive = mode.drive(), brake = mode.brake(), rest = mode.rest(),
                         gap = mode.gap();
            CHECK(balanced_descent(1, &drive, &brake, &rest, &gap, n_layers, steps, out.data(),
                                   [] { return false; }));
            compare(mode, out, "balanced");
        }
    }
}

TEST(modes_with_a_velocity_follow_their_recursion) {
    for (const Index n_layers : {2, 3}) {
        for (const bool nesterov : {false, true}) {
            for (const double momentum : {0.0, 0.5, 0.9}) {
                for (const double start : {0.05, 0.5, 1.3}) {
                    const Mode mode{start, 2, 0.01L, momentum, n_layers, nesterov};
                    std::vector<double> out(2 * steps.size());
                    const double drive = mode.drive(), brake = mode.brake(), rest = mode.rest(),
                                 gap = mode.gap();
                    CHECK(momentum_descent(1, &drive, &brake, &rest, &gap, &momentum, nesterov,
                                           n_layers, steps, out.data(), [] { return false; }));
                    compare(mode, out, nesterov ? "nesterov" : "heavy ball");
                }
            }
        }
    }
}

TEST(a_mode_can_be_stopped) {
    const double one = 1e-9;
    std::vector<double> out(2);
    int asked = 0;
    CHECK(!momentum_descent(1, &one, &one, &one, &one, &one, true, 2, {std::int64_t{1} << 60},
                            out.data(), [&] { return ++asked == 3; }));
    CHECK(asked == 3);
}
