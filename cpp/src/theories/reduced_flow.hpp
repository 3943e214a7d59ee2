// The reduced gradient flow of one run with a single layer: two components, an adaptive Runge-Kutta
// method of order 8 in time.
#pragma once

#include "theories/false_position.hpp"
#include "theories/reduced_step.hpp"

namespace linnet::reduced {

using Pair = std::array<double, 2>;

/// ln cosh s
inline double log_cosh(double s) {
    constexpr double ln_2 = 0.693147180559945309;
    const double size = std::abs(s);
    return size + std::log1p(std::exp(-2 * size)) - ln_2;
}
/// The norm of a vector of the plane, whatever its size.
inline double length(double x, double y) {
    const double square = fma(x, x, y * y);
    return square > 1e-280 && square < 1e280 ? std::sqrt(square) : std::hypot(x, y);
}
/// s of (x, y) with the norm r and y >= 0; the zero vector counts as aligned.
inline double half_angle(double x, double log_y, double r) {
    if (r == 0) return -infinity;
    return x > 0 ? log_y - std::log(r + x) : std::log(r - x) - log_y;
}

/// One layer, in the plane: the component x along v and ln y of the one across. Smooth also where w
/// passes through zero.
struct OneLayer {
    static constexpr int n = 2;
    Pulls pulls;

    Pair start(double s, double norm) const {
        if (norm == 0) return {0, -infinity};
        if (std::isinf(s)) return {s > 0 ? -norm : norm, -infinity};
        return {-norm * std::tanh(s), std::log(norm) - log_cosh(s)};
    }
    struct Place {
        double y, r, one_minus_cos;
    };
    static Place place(const Pair& p) {
        const double y = std::exp(p[1]);
        const double r = length(p[0], y);
        // A zero vector has no pull inwards that the angle could matter for.
        if (r == 0) return {0, 0, 0};
        return {y, r, p[0] > 0 ? y / r * (y / (r + p[0])) : 1 - p[0] / r};
    }
    Pair slope(const Pair& p) const {
        const Place at = place(p);
        const auto [h, q] = pulls.law.hq(at.r);
        return {fma(q, at.one_minus_cos, h - pulls.gap),
                at.r > 0 ? -q / at.r : -pulls.law.m2() / 4};
    }
    double scale(int i, const Pair& before, const Pair& after) const {
        if (i == 0) return std::max(place(before).r, place(after).r);
        return std::max(1.0, std::abs(before[1]));  // infinite on the axis
    }
    double rate(const Pair& p, const Pair& slope) const {
        const double size = place(p).r + 1 / std::sqrt(pulls.law.m2());
        return std::max(std::abs(slope[0]) / size, std::abs(slope[1]));
    }
    double s(const Pair& p) const { return half_angle(p[0], p[1], place(p).r); }
    double log_norm(const Pair& p) const { return std::log(place(p).r); }
    /// The speed of the norm, or what has its sign.
    double growth(const Pair& p) const {
        if (std::isinf(p[1])) {
            // Through zero it jumps, and x does not.
            if (p[0] <= 0) return p[0];
            const double growth = pulls.law.hq(p[0]).h - pulls.gap;
            return growth > 0 ? p[0] : growth;
        }
        const Place at = place(p);
        return fma(-pulls.along, at.one_minus_cos, pulls.law.hq(at.r).h - pulls.gap);
    }
    bool is_settled(const Pair& p, double rtol) const {
        return pulls.gap > 0 && p[0] > 0 && place(p).one_minus_cos < 1e-17 &&
               pulls.is_at_rest(p[0], rtol);
    }
    /// Where the norm turns so near to zero that x is lost in rounding, the path is straight, and x
    /// is zero.
    Pair at_turn(const Pair& p, double time) const {
        return {std::abs(p[0]) < 1e-15 * pulls.along * time ? 0 : p[0], p[1]};
    }
    static constexpr int angle = 1;  ///< which variable goes on
};

/// Follows the flow from its start.
class OneLayerFlow {
    using System = OneLayer;

public:
    OneLayerFlow(const OneLayerFlow&) = delete;
    OneLayerFlow(const System& system, double s, double norm, double rtol)
        : system_(system),
          trial_(system_),
          rtol_(rtol),
          here_(system.start(s, norm)) {
        slope_ = system_.slope(here_);
        const double rate = system_.rate(here_, slope_);
        step_ = rate > 0 ? 0.01 / rate : infinity;
    }

    /// Write record k of each time; false if asked to stop.
    template <class Write, class Stop>
    bool record(const std::vector<double>& times, const Write& write, const Stop& stop) {
        std::size_t k = 0;
        const auto emit = [&](const Pair& p) {
            write(k, system_.s(p), system_.log_norm(p));
            ++k;
            if (k % ask_every == 0 && stop()) stopped_ = true;
        };
        while (k < times.size() && times[k] == 0 && !stopped_) emit(here_);
        while (k < times.size()) {
            if (stopped_) return false;
            if (system_.is_settled(here_, rtol_)) {
                Pair p = here_;
                p[System::angle] += (times[k] - time_) * slope_[System::angle];
                emit(p);
                continue;
            }
            const double end = times.back();
            if (!advance(end, stop)) {
                if (stopped_) return false;
                for (; k < times.size(); ++k) write(k, nan, nan);
                return true;
            }
            bool prepared = false;
            while (k < times.size() && times[k] <= time_ && !stopped_) {
                if (times[k] == time_) {
                    emit(here_);
                    continue;
                }
                if (!prepared) trial_.prepare();
                prepared = true;
                emit(trial_.interpolate((times[k] - before_) / (time_ - before_)));
            }
        }
        return !stopped_;
    }

    /// Where the norm stops shrinking; false if asked to stop.
    template <class Stop>
    bool find_turn(Turn& turn, const Stop& stop) {
        const auto value = [&](const Pair& p) { return system_.growth(p); };
        Pair from = here_;
        double low = value(from);
        if (low >= 0) {
            turn = {0, system_.s(here_), system_.log_norm(here_)};
            return true;
        }
        while (true) {
            from = here_;
            const Pair from_slope = slope_;
            if (system_.is_settled(here_, rtol_) || !advance(infinity, stop)) {
                turn = {infinity, system_.s(here_), system_.log_norm(here_)};
                return !stopped_;
            }
            double high = value(here_);
            if (!(high >= 0)) {
                low = high;
                continue;
            }
            // By steps of the method itself to the place.
            const auto after = [&](double time) {
                trial_.go(from, from_slope, time, rtol_);
                return value(trial_.next());
            };
            const double at = false_position(after, time_ - before_, low, high);
            trial_.go(from, from_slope, at, rtol_);
            const Pair p = system_.at_turn(trial_.next(), before_ + at);
            turn = {before_ + at, system_.s(p), system_.log_norm(p)};
            return true;
        }
    }

private:
    static constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    static constexpr int ask_every = 256;

    /// Take a step that is good enough, not beyond `end`; false if asked to stop or if there is
    /// none.
    template <class Stop>
    bool advance(double end, const Stop& stop) {
        bool refused = false;
        while (true) {
            if (++n_tried_ % ask_every == 0 && stop()) {
                stopped_ = true;
                return false;
            }
            const double left = end - time_ - pending_;
            // The end is met exactly, and not by a last step that is much smaller than the one
            // before.
            const double step = step_ >= left ? left : step_ > left / 2 ? left / 2 : step_;
            if (!(step > 0) || std::isinf(time_ + step)) return false;
            const double error = trial_.go(here_, slope_, step, rtol_);
            const double by = 0.9 * std::pow(error, -1.0 / 8);
            if (error <= 1) {
                before_ = time_;
                // Near zero all may go faster than so late a time can tell.
                pending_ += step;
                time_ = step == left ? end : time_ + pending_;
                if (time_ > before_) pending_ = 0;
                here_ = trial_.next();
                slope_ = trial_.next_slope();
                const double most = refused ? 1 : 6;
                step_ = step * (by < most ? std::max(by, 0.2) : most);
                return true;
            }
            step_ = step * (by > 0.2 ? by : 0.2);
            refused = true;
        }
    }

    System system_;
    Step<System> trial_;
    double rtol_;
    Pair here_;
    Pair slope_{};
    double time_ = 0;
    double before_ = 0;
    double pending_ = 0;  ///< what has passed since, as long as it is lost beside the time
    double step_ = 0;
    std::int64_t n_tried_ = 0;
    bool stopped_ = false;
};

}  // namespace linnet::reduced
