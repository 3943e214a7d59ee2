#include "linnet/recursions.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

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
    for (; exponent > 0; exponent /= 2, base *= base)
        if (exponent % 2 != 0) result *= base;
    return result;
}

/// x y z, where neither overflows nor underflows what the product itself does not.
double product(double x, double y, double z) {
    const double xy = x * y;
    const double all = xy * z;
    if (std::isnormal(xy) && std::isnormal(all)) return all;
    double sizes[] = {x, y, z};
    std::sort(sizes, sizes + 3, [](double a, double b) { return std::abs(a) < std::abs(b); });
    return sizes[0] * sizes[2] * sizes[1];
}

/// A sum of many small terms, compensated.
struct Sum {
    double value;
    double lost = 0;

    void add(double term) {
        const double change = term - lost;
        const double next = value + change;
        lost = (next - value) - change;
        value = next;
    }
};

/// The layer y of a balanced mode in units of its start: y <- y + y^(L - 1) (drive - brake y^L).
///
/// Near rest it is what remains, g = 1 - y^L / rest^L, that is followed; nothing cancels there, as
/// each change of g has the factor g.
class BalancedMode {
public:
    BalancedMode(double drive, double brake, double rest, double gap, Index n_layers)
        : drive_(drive),
          brake_(brake),
          rest_(rest),
          n_layers_(n_layers),
          low_(rest * std::exp2(-1.0 / static_cast<double>(n_layers))),
          high_(rest * std::exp2(1.0 / static_cast<double>(n_layers))),
          near_(gap > -1 && gap < 0.5) {
        if (near_) gap_.value = gap;
    }

    void advance() {
        if (near_)
            advance_near();
        else
            advance_far();
    }

    double layer() const { return near_ ? sign_ * size() : layer_.value; }
    double gap() const { return near_ ? gap_.value : std::numeric_limits<double>::quiet_NaN(); }

private:
    double size() const {
        return rest_ * std::exp(std::log1p(-gap_.value) / static_cast<double>(n_layers_));
    }

    void advance_near() {
        const double g = gap_.value;
        const double y = size();
        const double change = drive_ * power(y, n_layers_ - 2) * g;
        const bool turns = change < -1;
        const double growth = turns ? -2 - change : change;  // of the size, as a part of it
        if (growth > -0.5 && !(turns && n_layers_ % 2 != 0)) {
            gap_.add((g - 1) * std::expm1(static_cast<double>(n_layers_) * std::log1p(growth)));
            if (turns) sign_ = -sign_;
            if (gap_.value > -1 && gap_.value < 0.5) return;
        }
        near_ = false;
        layer_ = {sign_ * y * (1 + change)};
    }

    void advance_far() {
        const double y = layer_.value;
        const double below = power(y, n_layers_ - 1);
        layer_.add(below * (drive_ - brake_ * below * y));
        const double next = layer_.value;
        const double size = n_layers_ % 2 == 0 ? std::abs(next) : next;
        if (size > low_ && size < high_) {
            near_ = true;
            sign_ = next < 0 ? -1 : 1;
            gap_ = {1 - power(size / rest_, n_layers_)};
        }
    }

    double drive_, brake_, rest_;
    Index n_layers_;
    double low_, high_;
    bool near_;
    double sign_ = 1;
    Sum layer_{1};
    Sum gap_{0};
};

/// The same with a velocity. Near rest it is e = y / rest - 1 that is followed.
class MovingMode {
public:
    MovingMode(double drive, double brake, double rest, double gap, double momentum, bool nesterov,
               Index n_layers)
        : drive_(drive),
          brake_(brake),
          rest_(rest),
          momentum_(momentum),
          nesterov_(nesterov),
          n_layers_(n_layers),
          depth_(static_cast<double>(n_layers)),
          near_(n_layers == 1 || (gap > -1 && gap < 0.5)) {
        if (near_) past_.value = n_layers == 1 ? -gap : std::expm1(std::log1p(-gap) / depth_);
    }

    void advance() {
        const double pull = near_ ? near_force() : far_force();
        speed_ = momentum_ * speed_ + pull;
        const double move = nesterov_ ? pull + momentum_ * speed_ : speed_;
        if (near_) {
            past_.add(move / rest_);
            if (n_layers_ > 1 && !(std::abs(past_.value) < 0.5)) {
                near_ = false;
                layer_ = {rest_ * (1 + past_.value)};
            }
        } else {
            layer_.add(move);
            const double part = layer_.value / rest_;
            if (part > 0.6 && part < 1.4) {
                near_ = true;
                past_ = {part - 1};
            }
        }
    }

    double layer() const { return near_ ? rest_ * (1 + past_.value) : layer_.value; }
    double gap() const {
        if (!near_) return std::numeric_limits<double>::quiet_NaN();
        return n_layers_ == 1 ? -past_.value : -grown();
    }

private:
    /// (1 + e)^L - 1
    double grown() const { return std::expm1(depth_ * std::log1p(past_.value)); }
    double near_force() const {
        if (n_layers_ == 1) return -drive_ * past_.value;
        return -drive_ * power(rest_ * (1 + past_.value), n_layers_ - 1) * grown();
    }
    double far_force() const {
        const double below = power(layer_.value, n_layers_ - 1);
        // In units of a tiny start there is no brake that is a number.
        if (rest_ > 0 && std::isfinite(rest_))
            return below * drive_ * (1 - power(layer_.value / rest_, n_layers_));
        return below * (drive_ - brake_ * below * layer_.value);
    }

    double drive_, brake_, rest_, momentum_;
    bool nesterov_;
    Index n_layers_;
    double depth_;
    bool near_;
    double speed_ = 0;
    Sum layer_{1};
    Sum past_{0};
};

}  // namespace

bool logit_descent(Index n, const double* logit, const double* rate,
                   const std::vector<std::int64_t>& steps, double* out, const StopAsking& stop) {
    const auto n_steps = static_cast<Index>(steps.size());
    for (Index i = 0; i < n; ++i) {
        Sum z{logit[i]};
        const double x = rate[i];
        const auto advance = [&] {
            // sigma - lam w and lam w, times the step size
            const double u = x / (1 + std::exp(-z.value));
            const double v = x / (1 + std::exp(z.value));
            z.add(std::log1p(-v * (2 + u)) - 2 * std::log1p(u));
        };
        const auto write = [&](Index k) { out[i * n_steps + k] = z.value; };
        if (!walk(steps, stop, advance, write)) return false;
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
            const double force = sigma[i] - product(lam[i], a, b);
            const double next = a + product(step_size[i], force, b);
            b += product(step_size[i], force, a);
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

bool balanced_descent(Index n, const double* drive, const double* brake, const double* rest,
                      const double* gap, Index n_layers, const std::vector<std::int64_t>& steps,
                      double* out, const StopAsking& stop) {
    const auto n_steps = static_cast<Index>(steps.size());
    for (Index i = 0; i < n; ++i) {
        BalancedMode mode(drive[i], brake[i], rest[i], gap[i], n_layers);
        const auto write = [&](Index k) {
            out[i * n_steps + k] = mode.layer();
            out[(n + i) * n_steps + k] = mode.gap();
        };
        if (!walk(steps, stop, [&] { mode.advance(); }, write)) return false;
    }
    return true;
}

bool momentum_descent(Index n, const double* drive, const double* brake, const double* rest,
                      const double* gap, const double* momentum, bool nesterov, Index n_layers,
                      const std::vector<std::int64_t>& steps, double* out, const StopAsking& stop) {
    const auto n_steps = static_cast<Index>(steps.size());
    for (Index i = 0; i < n; ++i) {
        MovingMode mode(drive[i], brake[i], rest[i], gap[i], momentum[i], nesterov, n_layers);
        const auto write = [&](Index k) {
            out[i * n_steps + k] = mode.layer();
            out[(n + i) * n_steps + k] = mode.gap();
        };
        if (!walk(steps, stop, [&] { mode.advance(); }, write)) return false;
    }
    return true;
}

}  // namespace linnet
