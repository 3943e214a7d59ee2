// The reduced gradient descent of one run: the first layer's vector in the plane, and what the
// other layers share.
#pragma once

#include <cmath>
#include <cstdint>

#include "linnet/index.hpp"
#include "linnet/step_rule.hpp"
#include "theories/reduced_flow.hpp"

namespace linnet::reduced {

/// x^n
inline double power(double x, Index n) {
    double result = 1;
    for (; n > 0; n /= 2, x *= x) {
        if (n % 2 == 1) result *= x;
    }
    return result;
}

/// One run: w_1 = (x, y 2^exponent) along and across v, with y >= 0, and the factor a of each of
/// the other layers. The component across decays below all bounds, so it has an exponent of its
/// own.
template <StepKind kind, bool deep>
class DescentRun {
public:
    struct State {
        double x, y;
        std::int64_t exponent;
        double a;
        double time;
    };

    DescentRun(const Pulls& pulls, Index n_layers, double scale, StepParameters rule)
        : pulls_(pulls),
          n_layers_(n_layers),
          scale_(scale),
          rule_(rule) {}

    void start(double s, double norm) {
        const double size = deep ? std::pow(norm, 1 / static_cast<double>(n_layers_)) : norm;
        at_ = {size, 0, 0, size, 0};
        if (std::isinf(s)) {
            if (s > 0) at_.x = -size;
        } else if (size > 0) {
            constexpr double ln_2 = 0.693147180559945309;
            const double log_y = std::log(size) - log_cosh(s);
            at_.exponent = log_y < -600 ? static_cast<std::int64_t>(log_y / ln_2) : 0;
            at_.x = -size * std::tanh(s);
            at_.y = std::exp(log_y - static_cast<double>(at_.exponent) * ln_2);
        }
        before_ = at_;
        before_.x = before_.y = infinity;
        norm_before_ = infinity;
        lost_ = 0;
    }

    /// Step number n.
    void advance(std::int64_t n) {
        const double x = at_.x;
        const double y = at_.y;
        const bool is_far = at_.exponent < 0 || y <= 1e-9 * std::abs(x);
        const double l = is_far ? std::abs(x) : length(x, y);
        const double below = deep ? power(at_.a, n_layers_ - 2) : 1;
        const double others = deep ? below * at_.a : 1;  // w_e = others w_1
        const double sign = deep && others < 0 ? -1 : 1;
        const double size = deep ? std::abs(others) : 1;
        const double r = size * l;
        watch(n, r);

        const double c = sign * x;
        const double one_minus_cos =
            is_far ? (c > 0 ? 0 : 2) : (c > 0 ? y / l * (y / (l + c)) : 1 - c / l);
        const auto [h, q] = pulls_.law.hq(r);
        const double kept = h - pulls_.gap;
        // The pulls of w_1 along v and along itself, over `size`
        const double pull = fma(q, one_minus_cos, kept);
        const double inward = l > 0 && r > 0 ? q / l : size * pulls_.law.m2() / 4;
        double eta = scale_;
        if constexpr (kind == StepKind::loss_normalized) {
            const double radial = fma(pulls_.gap, r, pulls_.law.loss(r));
            eta /= fma(pulls_.along * r, one_minus_cos, radial);
        } else if constexpr (kind == StepKind::norm_proportional) {
            eta *= r;
        } else if constexpr (kind == StepKind::gradient_normalized) {
            eta /= std::sqrt(fma(2 * pulls_.along * q, one_minus_cos, kept * kept));
        } else if constexpr (kind == StepKind::alignment) {
            eta /= inward;
        } else if constexpr (kind != StepKind::constant) {
            eta *= scheduled(kind, rule_, static_cast<double>(n));
        }
        if constexpr (kind != StepKind::constant) eta *= warmup(rule_, static_cast<double>(n));
        const double move = eta * size;
        if constexpr (kind == StepKind::alignment) {
            // Nothing is left of w_1, not even by rounding.
            at_.x = move * pulls_.along;
            at_.y = 0;
        } else {
            at_.x = fma(sign * move, pull, x);
            at_.y = y * std::abs(fma(-move, inward, 1.0));
        }
        if constexpr (deep) {
            const double gain = l * fma(-pulls_.along, one_minus_cos, kept);
            at_.a = fma(eta * below * sign, gain, at_.a);
        }
        if constexpr (kind == StepKind::constant) {
            at_.time = eta * static_cast<double>(n + 1);
        } else {
            const double change = eta - lost_;
            const double time = at_.time + change;
            lost_ = (time - at_.time) - change;
            at_.time = time;
        }
        if (at_.y < least && at_.y > 0 && (at_.exponent < 0 || at_.y < 1e-20 * std::abs(at_.x))) {
            at_.y *= shift;
            at_.exponent -= shift_bits;
        } else if (at_.exponent < 0 && at_.y > 1) {
            at_.y /= shift;
            at_.exponent += shift_bits;
        }
    }

    double s() const { return s(at_); }
    double log_norm() const { return log_norm(at_); }
    double time() const { return at_.time; }

    /// Look once more for the turn, after the last of n steps.
    void finish(std::int64_t n) {
        const double l = at_.exponent < 0 ? std::abs(at_.x) : length(at_.x, at_.y);
        watch(n, deep ? std::abs(power(at_.a, n_layers_ - 1)) * l : l);
    }
    std::int64_t turn() const { return turn_; }
    const State& at_turn() const { return turned_; }
    double s(const State& p) const {
        const double log_y = std::log(p.y) + static_cast<double>(p.exponent) * 0.693147180559945309;
        const double l = p.exponent < 0 ? std::abs(p.x) : length(p.x, p.y);
        const double sign = deep && p.a < 0 && n_layers_ % 2 == 0 ? -1 : 1;
        return half_angle(sign * p.x, log_y, l);
    }
    double log_norm(const State& p) const {
        const double l = p.exponent < 0 ? std::abs(p.x) : length(p.x, p.y);
        if (!deep) return std::log(l);
        return static_cast<double>(n_layers_ - 1) * std::log(std::abs(p.a)) + std::log(l);
    }

private:
    static constexpr std::int64_t shift_bits = 512;
    static constexpr double shift = 0x1p512;
    static constexpr double least = 0x1p-700;

    /// Remember the first step from which the norm does not shrink.
    void watch(std::int64_t n, double r) {
        if (turn_ >= 0) return;
        if (r >= norm_before_) {
            turn_ = n - 1;
            turned_ = before_;
        }
        norm_before_ = r;
        before_ = at_;
    }

    Pulls pulls_;
    Index n_layers_;
    double scale_;
    StepParameters rule_;
    State at_{};
    double lost_ = 0;  // of the time, by rounding
    State before_{}, turned_{};
    double norm_before_ = infinity;
    std::int64_t turn_ = -1;
};

}  // namespace linnet::reduced
