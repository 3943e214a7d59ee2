// What the reduced flows have in common: the pulls of the law, and one step of the method.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/dop853.hpp"
#include "losses/radial_functions.hpp"

namespace linnet::reduced {

inline constexpr double infinity = std::numeric_limits<double>::infinity();
inline constexpr double nan = std::numeric_limits<double>::quiet_NaN();

/// The law, with the noise of the labels: the pull along v is kappa - gap.
struct Pulls {
    const RadialFunctions& law;
    double gap;    ///< 2 P(flip) kappa
    double along;  ///< kappa - gap
    Pulls(const RadialFunctions& functions, double noise)
        : law(functions),
          gap(2 * noise * functions.kappa()),
          along((1 - 2 * noise) * functions.kappa()) {}
    /// With noise the norm of an aligned vector comes to rest, and from there on only the angle
    /// moves.
    bool is_at_rest(double r, double rtol) const {
        const double h = law.hq(r).h;
        // As h is convex, r times its slope is at least this.
        return along > 0 && std::abs(h - gap) < 4 * rtol * (h - law.hq(2 * r).h);
    }
};

/// Where the norm is the least.
struct Turn {
    double time, s, log_norm;
};

/// One step of the method, from a point with a known slope.
template <class System>
class Step {
public:
    static constexpr int n = System::n;
    using State = std::array<double, n>;

    explicit Step(const System& system) : system_(system) {}

    /// Go from `here`; returns the error by the tolerance: at most 1 is good.
    double go(const State& here, const State& slope, double step, double rtol) {
        here_ = here;
        step_ = step;
        k_[0] = slope;
        stages(std::make_integer_sequence<int, 11>{});
        next_ = point<dop853::next_point>();
        k_[dop853::next_point] = system_.slope(next_);
        double error_5 = 0;
        double error_3 = 0;
        for (int i = 0; i < n; ++i) {
            // The step comes first: slopes may be so small that their squares underflow.
            const double unit = step / (rtol * system_.scale(i, here_, next_));
            const double a = unit * combined<dop853::error_5, 12>(i);
            const double b = unit * combined<dop853::error_3, 12>(i);
            error_5 = fma(a, a, error_5);
            error_3 = fma(b, b, error_3);
        }
        const double both = fma(0.01, error_3, error_5);
        return both == 0 ? 0 : error_5 / std::sqrt(2 * both);
    }
    const State& next() const { return next_; }
    const State& next_slope() const { return k_[dop853::next_point]; }

    /// Call before interpolate().
    void prepare() {
        k_[13] = system_.slope(point<13>());
        k_[14] = system_.slope(point<14>());
        k_[15] = system_.slope(point<15>());
        for (int i = 0; i < n; ++i) {
            const auto e = static_cast<std::size_t>(i);
            const double move = next_[e] - here_[e];
            const double last = k_[dop853::next_point][e];
            term_[0][e] = move;
            term_[1][e] = fma(step_, k_[0][e], -move);
            term_[2][e] = fma(-step_, last + k_[0][e], 2 * move);
            term_[3][e] = step_ * combined<dop853::dense, 16>(i);
            term_[4][e] = step_ * combined<dop853::dense + 1, 16>(i);
            term_[5][e] = step_ * combined<dop853::dense + 2, 16>(i);
            term_[6][e] = step_ * combined<dop853::dense + 3, 16>(i);
        }
    }
    State interpolate(double part) const {
        State result = here_;
        for (std::size_t e = 0; e < n; ++e) {
            if (std::isinf(here_[e])) continue;
            double move = 0;
            for (std::size_t term = 7; term-- > 0;)
                move = (move + term_[term][e]) * (term % 2 == 0 ? part : 1 - part);
            result[e] += move;
        }
        return result;
    }

private:
    template <int row, int count>
    double combined(int i) const {
        double total = 0;
        add<row, count>(i, total, std::make_integer_sequence<int, count>{});
        return total;
    }
    template <int row, int count, int... j>
    void add(int i, double& total, std::integer_sequence<int, j...> /*unused*/) const {
        (
            [&] {
                constexpr double coefficient = dop853::table[row][j];
                if constexpr (coefficient != 0)
                    total = fma(coefficient, k_[j][static_cast<std::size_t>(i)], total);
            }(),
            ...);
    }
    template <int row>
    State point() const {
        constexpr int count = std::min(row, dop853::n_dense_stages);
        State result{};
        for (int i = 0; i < n; ++i) {
            const auto e = static_cast<std::size_t>(i);
            result[e] = fma(step_, combined<row, count>(i), here_[e]);
        }
        return result;
    }
    template <int... before>
    void stages(std::integer_sequence<int, before...> /*unused*/) {
        ((k_[before + 1] = system_.slope(point<before + 1>())), ...);
    }

    const System& system_;
    State here_{}, next_{};
    double step_ = 0;
    std::array<State, dop853::n_dense_stages> k_{};
    std::array<State, dop853::n_dense_terms> term_{};
};

}  // namespace linnet::reduced
