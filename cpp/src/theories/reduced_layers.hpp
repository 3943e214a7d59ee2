// The reduced gradient flow of one run with the angle for its clock: s = ln tan(theta / 2) falls
// steadily, and by how much it has fallen serves as the time in which the method runs. So nothing
// depends on how large the time itself is, or how fast it passes.
#pragma once

#include "theories/false_position.hpp"
#include "theories/reduced_step.hpp"

namespace linnet::reduced {

/// Balanced layers, or a single one away from zero, over one step from a place with s and ln r.
/// With u by how much s falls, ln(r (1 + e^(2 s))^-L) grows by L (h - gap) / along du, and the time
/// by r^(2 / L - 1) / along du.
struct Layers {
    static constexpr int n = 3;
    /// How far s has fallen, how much ln(r (1 + e^(2 s))^-L) has grown, and the time that has
    /// passed, in units of what it takes for s to fall by 1 at the first pace.
    using State = std::array<double, n>;

    Pulls pulls;
    double n_layers;
    double at_s = 0, at_log_norm = 0;  ///< at the start of the step
    double before =
        0;  ///< the time up to there, in the same units; infinite: time is of no interest

    double slower() const { return 1 - 2 / n_layers; }  ///< time passes like 1 / r^slower

    /// By how much ln r grows over part of the step.
    double change(const State& p) const {
        if (std::isinf(at_s)) return p[1];
        const double fall = p[0];
        const double end = at_s - fall;
        double turned = 0;
        if (at_s <= 0) {
            turned = std::log1p(std::exp(2 * end)) - std::log1p(std::exp(2 * at_s));
        } else {
            turned = -2 * std::min(at_s, fall) + std::log1p(std::exp(-2 * std::abs(end))) -
                     std::log1p(std::exp(-2 * at_s));
        }
        return fma(n_layers, turned, p[1]);
    }
    double log_norm(const State& p) const { return at_log_norm + change(p); }

    State slope(const State& p) const {
        const double grown = change(p);
        double pull = pulls.law.hq(std::exp(at_log_norm + grown)).h - pulls.gap;
        if (at_s == infinity) pull -= 2 * pulls.along;
        const double pace = std::isinf(before) ? 0
                            : n_layers == 2    ? 1
                                               : std::exp(-slower() * grown);
        return {1, n_layers * pull / pulls.along, pace};
    }
    double scale(int i, const State& /*here*/, const State& next) const {
        if (i == 0) return infinity;
        return i == 1 ? 1 : before + next[2];
    }
    /// -gradient along w, or what has its sign.
    double growth(double s, double log_norm) const {
        if (pulls.gap == 0 && s < -40 && is_far(log_norm))  // both may underflow
            return std::log(pulls.law.tail() / (2 * pulls.along)) - 2 * (log_norm + s);
        const double e = std::exp(-2 * std::abs(s));
        const double one_minus_cos = 2 * (s > 0 ? 1 : e) / (1 + e);
        return fma(-pulls.along, one_minus_cos, pulls.law.hq(std::exp(log_norm)).h - pulls.gap);
    }
    /// Whether h is tail / r^2 to rounding.
    bool is_far(double log_norm) const { return log_norm > std::log(1e9 * pulls.law.reach()); }
};

/// Follows the flow from its start.
class LayersFlow {
public:
    LayersFlow(const LayersFlow&) = delete;
    LayersFlow(const Pulls& pulls, Index n_layers, double s, double norm, double rtol)
        : system_{pulls, static_cast<double>(n_layers)},
          trial_(system_),
          rtol_(rtol),
          start_s_(s),
          start_log_norm_(std::log(norm)) {
        system_.at_s = s;
        system_.at_log_norm = start_log_norm_;
        slope_ = system_.slope({0, 0, 0});
        const double turned = system_.n_layers * std::abs(system_.growth(s, start_log_norm_));
        step_ = 0.01 / (1 + (std::isfinite(turned) ? turned / pulls.along : 0) + slope_[1]);
    }

    /// Write record k of each time; false if asked to stop.
    template <class Write, class Stop>
    bool record(const std::vector<double>& times, const Write& write, const Stop& stop) {
        std::size_t k = 0;
        while (k < times.size() && times[k] == 0) write(k++, start_s_, start_log_norm_);
        while (k < times.size()) {
            if (const Late late = late_form(); late != Late::no) {
                for (; k < times.size(); ++k) write_late(late, times[k], k, write);
                return true;
            }
            if (!advance(infinity, stop)) {
                if (stopped_) return false;
                for (; k < times.size(); ++k) write(k, nan, nan);
                return true;
            }
            const double until = time_;
            if (k < times.size() && times[k] <= until) {
                // Steps of the method itself to the times, back from the end of this one.
                const Kept end = keep();
                restore(begin_);
                for (; k < times.size() && times[k] <= until; ++k) {
                    const State p = place_of(scaled(times[k] - time_, -log_unit()), end.fall);
                    write(k, start_s_ - (fall_ + p[0]), system_.log_norm(p));
                }
                restore(end);
            }
        }
        return true;
    }

    /// The time until s has fallen by so much; NaN if asked to stop or if there is none.
    template <class Stop>
    double time_to(double fall, const Stop& stop) {
        while (fall_ < fall && !std::isinf(time_)) {
            if (!advance(fall, stop)) return nan;
        }
        return time_;
    }

    /// Where the norm stops shrinking; false if asked to stop.
    template <class Stop>
    bool find_turn(Turn& turn, const Stop& stop) {
        double low = system_.growth(start_s_, start_log_norm_);
        if (low >= 0) {
            turn = {0, start_s_, start_log_norm_};
            return true;
        }
        if (start_s_ == infinity) {
            turn = {infinity, infinity, -infinity};
            return true;
        }
        while (true) {
            if (late_form() != Late::no || !advance(infinity, stop)) {
                turn = {infinity, system_.at_s, system_.at_log_norm};
                return !stopped_;
            }
            double high = system_.growth(system_.at_s, system_.at_log_norm);
            if (!(high >= 0)) {
                low = high;
                continue;
            }
            const double whole = fall_ - begin_.fall;
            restore(begin_);
            const auto value = [&](double fall) {
                trial_.go({0, 0, 0}, slope_, fall, rtol_);
                return system_.growth(start_s_ - (fall_ + fall), system_.log_norm(trial_.next()));
            };
            const double at = false_position(value, whole, low, high);
            value(at);
            turn = {time_ + scaled(trial_.next()[2], log_unit()), start_s_ - (fall_ + at),
                    system_.log_norm(trial_.next())};
            return true;
        }
    }

private:
    using State = Layers::State;
    enum class Late { no, at_rest, far };
    /// Where a step starts or ends.
    struct Kept {
        double fall = 0, grown = 0, time = 0, lost_grown = 0, lost_time = 0;
        State slope{};
    };
    static constexpr int ask_every = 256;

    Kept keep() const { return {fall_, grown_, time_, lost_grown_, lost_time_, slope_}; }
    void restore(const Kept& kept) {
        fall_ = kept.fall;
        grown_ = kept.grown;
        time_ = kept.time;
        lost_grown_ = kept.lost_grown;
        lost_time_ = kept.lost_time;
        slope_ = kept.slope;
        settle();
    }
    /// Let the system start from here.
    void settle() {
        system_.at_s = start_s_;
        system_.at_log_norm = start_log_norm_;
        system_.at_log_norm = system_.log_norm({fall_, grown_, 0});
        system_.at_s = start_s_ - fall_;
        system_.before = std::isinf(time_) ? infinity : time_ > 0 ? scaled(time_, -log_unit()) : 0;
    }
    /// ln of what the time of the system is measured in, which may be beyond the doubles.
    double log_unit() const {
        return -std::log(system_.pulls.along) - system_.slower() * system_.at_log_norm;
    }
    /// `value` e^log
    static double scaled(double value, double log) {
        return std::abs(log) < 700 ? value * std::exp(log) : std::exp(std::log(value) + log);
    }
    static void add(double& total, double& lost, double change) {
        const double corrected = change - lost;
        const double next = total + corrected;
        lost = std::isinf(next) ? 0 : (next - total) - corrected;
        total = next;
    }

    /// Take a step that is good enough, with a fall of s not beyond `end`; false if asked to stop
    /// or if there is none.
    template <class Stop>
    bool advance(double end, const Stop& stop) {
        bool refused = false;
        while (true) {
            if (++n_tried_ % ask_every == 0 && stop()) {
                stopped_ = true;
                return false;
            }
            const double left = end - fall_;
            constexpr double most_fall = std::numeric_limits<double>::max();
            step_ = std::min(step_, most_fall / 2 - fall_ / 2);
            const double step = step_ >= left ? left : step_ > left / 2 ? left / 2 : step_;
            if (!(fall_ + step > fall_)) return false;
            const double error = trial_.go({0, 0, 0}, slope_, step, rtol_);
            const double by = 0.9 * std::pow(error, -1.0 / 8);
            if (error <= 1) {
                begin_ = keep();
                const State& next = trial_.next();
                const double passed = scaled(next[2], log_unit());
                fall_ = step == left ? end : fall_ + step;
                add(grown_, lost_grown_, next[1]);
                add(time_, lost_time_, passed);
                settle();
                slope_ = system_.slope({0, 0, 0});
                const double most = refused ? 1 : 6;
                step_ = step * (by < most ? std::max(by, 0.2) : most);
                return true;
            }
            step_ = step * (by > 0.2 ? by : 0.2);
            refused = true;
        }
    }

    /// The place of the step to `end` at which so much of the system's time has passed.
    State place_of(double passed, double end) {
        double a = 0;
        double b = end - fall_;
        double at = b;
        for (int i = 0; i < 100; ++i) {
            trial_.go({0, 0, 0}, slope_, at, rtol_);
            const double excess = trial_.next()[2] - passed;
            if (excess == 0) break;
            (excess > 0 ? b : a) = at;
            double next = at - excess / trial_.next_slope()[2];
            if (!(next > a && next < b)) next = a + (b - a) / 2;
            const bool is_there = std::abs(next - at) <= 4e-16 * at;
            at = next;
            if (is_there || !(at > a && at < b)) break;
        }
        return trial_.next();
    }

    /// Whether the rest is a closed form: the norm at rest, or so large that h = tail / r^2.
    Late late_form() const {
        const Pulls& pulls = system_.pulls;
        const double s = system_.at_s;
        const double log_norm = system_.at_log_norm;
        if (pulls.gap > 0) {
            const bool rests = s < -20 && pulls.is_at_rest(std::exp(log_norm), rtol_);
            return rests ? Late::at_rest : Late::no;
        }
        const double least = 40 + std::log(2 * pulls.along / pulls.law.tail());
        return system_.is_far(log_norm) && 2 * (s + log_norm) < -least ? Late::far : Late::no;
    }
    template <class Write>
    void write_late(Late late, double time, std::size_t k, const Write& write) const {
        const double along = system_.pulls.along;
        const double log_norm = system_.at_log_norm;
        const double log_pace = std::log(along * (time - time_)) + system_.slower() * log_norm;
        if (late == Late::at_rest) {
            write(k, system_.at_s - std::exp(log_pace), log_norm);
            return;
        }
        // r^((L + 2) / L) grows by (L + 2) tail (t - t0), and s falls by along / (2 L tail) times
        // the growth of r^2.
        const double layers = system_.n_layers;
        const double tail = system_.pulls.law.tail();
        const double log_grown = log_pace + std::log((layers + 2) * tail / along) - 2 * log_norm;
        const double log_ratio =
            layers / (layers + 2) * (log_grown > 700 ? log_grown : std::log1p(std::exp(log_grown)));
        // ln(e^(2 log_ratio) - 1); the ratio may be 1 to rounding.
        const double log_square = log_grown < -700
                                      ? log_grown + std::log(2 * layers / (layers + 2))
                                      : 2 * log_ratio + std::log(-std::expm1(-2 * log_ratio));
        const double fall =
            std::exp(log_square + 2 * log_norm + std::log(along / (2 * layers * tail)));
        write(k, system_.at_s - fall, log_norm + log_ratio);
    }

    Layers system_;
    Step<Layers> trial_;
    double rtol_;
    double start_s_, start_log_norm_;
    double fall_ = 0, grown_ = 0, time_ = 0, lost_grown_ = 0, lost_time_ = 0;
    State slope_{};
    Kept begin_;  ///< of the last step
    double step_ = 0;
    std::int64_t n_tried_ = 0;
    bool stopped_ = false;
};

}  // namespace linnet::reduced
