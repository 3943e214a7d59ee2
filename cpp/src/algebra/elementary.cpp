#include "linnet/elementary.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/tasks.hpp"

namespace linnet {

namespace {

constexpr double infinite = std::numeric_limits<double>::infinity();
constexpr double nan = std::numeric_limits<double>::quiet_NaN();
// Few bits, so that whole multiples are exact, and the rest.
constexpr double ln2_high = 0x1.62e42fefa3800p-1;
constexpr double ln2_low = 0x1.ef35793c76730p-45;

/// A number with twice the digits: high + low, low beyond the digits of high.
struct Long {
    double high, low;
};

Long sum(double a, double b) {
    const double s = a + b;
    const double rest = s - a;
    return {s, (a - (s - rest)) + (b - rest)};
}

/// By halves of the digits: fused operations are not to be had everywhere.
Long product(double a, double b) {
    constexpr double split = 134217729;  // 2^27 + 1
    const double p = a * b;
    const double a_cut = split * a;
    const double b_cut = split * b;
    const double a_high = a_cut - (a_cut - a);
    const double b_high = b_cut - (b_cut - b);
    const double a_low = a - a_high;
    const double b_low = b - b_high;
    return {p, ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low};
}

Long product(Long a, Long b) {
    const Long p = product(a.high, b.high);
    return sum(p.high, p.low + (a.high * b.low + a.low * b.high));
}

/// log(x + low), for x normal or not, positive and finite, and low far below it.
double log_of(double x, double low) {
    int k;
    double m = std::frexp(x, &k);
    if (m < 0x1.6a09e667f3bcdp-1) {  // sqrt(1/2)
        m *= 2;
        --k;
    }
    // log m = 2 artanh s, s = (m - 1) / (m + 1).
    const double f = m - 1;
    const Long d = sum(m, 1);
    const double s_high = f / d.high;
    const Long back = product(s_high, d.high);
    const Long s = {s_high, ((f - back.high) - back.low - s_high * d.low) / d.high};
    const Long square = product(s, s);
    const double q = square.high;
    double rest = 1.0 / 25;
    for (int i = 23; i >= 5; i -= 2) rest = rest * q + 1.0 / i;
    const Long third = {1.0 / 3, 0x1.5555555555555p-56};
    Long series = sum(third.high, q * rest);
    series.low += third.low;
    const Long more = product(product(square, series), s);
    const Long whole = sum(k * ln2_high, 2 * s.high);
    const Long top = sum(whole.high, 2 * more.high);
    return top.high + (top.low + whole.low + 2 * (more.low + s.low) + k * ln2_low + low / x);
}

double logarithm(double x) {
    if (!(x > 0)) return x == 0 ? -infinite : nan;
    return x == infinite ? x : log_of(x, 0);
}

double logarithm_of_one_and(double x) {
    if (!(x > -1)) return x == -1 ? -infinite : nan;
    if (x == infinite || std::fabs(x) < 0x1p-54) return x;
    const Long one_and = sum(1, x);
    return log_of(one_and.high, one_and.low);
}

/// e^x = 2^exponent (high + low).
struct Power {
    Long part;
    int exponent;
};

/// e^r - 1 - r for |r| < 0.36: Taylor's series.
double beyond_linear(double r) {
    double series = 1.0 / 14;
    for (int i = 13; i >= 3; --i) series = (1 + r * series) / i;
    return r * r * (0.5 + 0.5 * r * series);
}

Power power_of(double x) {
    constexpr double round = 0x1.8p52;  // adding it rounds to whole numbers
    const double k = (x * 0x1.71547652b82fep0 + round) - round;
    const double above = x - k * ln2_high;
    const double r = above - k * ln2_low;
    const double rest = (above - r) - k * ln2_low;
    const Long one_and = sum(1, r);
    return {sum(one_and.high, one_and.low + (beyond_linear(r) + rest + r * rest)),
            static_cast<int>(k)};
}

double exponential(double x) {
    if (std::isnan(x)) return x;
    if (x > 710) return infinite;
    if (x < -746) return 0;
    const Power p = power_of(x);
    return std::ldexp(p.part.high, p.exponent);
}

double exponential_less_one(double x) {
    if (std::isnan(x)) return x;
    if (x > 710) return infinite;
    if (x < -40) return -1;
    if (std::fabs(x) < 0.34) return x + beyond_linear(x);
    const Power p = power_of(x);
    if (p.exponent > 64) return std::ldexp(p.part.high, p.exponent);
    const Long less = sum(std::ldexp(p.part.high, p.exponent), -1);
    return less.high + (less.low + std::ldexp(p.part.low, p.exponent));
}

/// The polynomial with these coefficients, from the highest power down.
template <int n>
double polynomial(double x, const double (&coefficients)[n]) {
    double value = coefficients[0];
    for (int i = 1; i < n; ++i) value = value * x + coefficients[i];
    return value;
}

/// The same with a leading coefficient of 1 before them.
template <int n>
double monic(double x, const double (&coefficients)[n]) {
    double value = x + coefficients[0];
    for (int i = 1; i < n; ++i) value = value * x + coefficients[i];
    return value;
}

// The rational functions are those of S. L. Moshier's Cephes library (ndtri), as in SciPy.
constexpr double centre_top[] = {-5.99633501014107895267E1, 9.80010754185999661536E1,
                                 -5.66762857469070293439E1, 1.39312609387279679503E1,
                                 -1.23916583867381258016E0};
constexpr double centre_bottom[] = {1.95448858338141759834E0, 4.67627912898881538453E0,
                                    8.63602421390890590575E1, -2.25462687854119370527E2,
                                    2.00260212380060660359E2, -8.20372256168333339912E1,
                                    1.59056225126211695515E1, -1.18331621121330003142E0};
constexpr double tail_top[] = {
    4.05544892305962419923E0,   3.15251094599893866154E1,   5.71628192246421288162E1,
    4.40805073893200834700E1,   1.46849561928858024014E1,   2.18663306850790267539E0,
    -1.40256079171354495875E-1, -3.50424626827848203418E-2, -8.57456785154685413611E-4};
constexpr double tail_bottom[] = {1.57799883256466749731E1,   4.53907635128879210584E1,
                                  4.13172038254672030440E1,   1.50425385692907503408E1,
                                  2.50464946208309415979E0,   -1.42182922854787788574E-1,
                                  -3.80806407691578277194E-2, -9.33259480895457427372E-4};
constexpr double far_top[] = {
    3.23774891776946035970E0,  6.91522889068984211695E0,  3.93881025292474443415E0,
    1.33303460815807542389E0,  2.01485389549179081538E-1, 1.23716634817820021358E-2,
    3.01581553508235416007E-4, 2.65806974686737550832E-6, 6.23974539184983293730E-9};
constexpr double far_bottom[] = {6.02427039364742014255E0,  3.67983563856160859403E0,
                                 1.37702099489081330271E0,  2.16236993594496635890E-1,
                                 1.34204006088543189037E-2, 3.28014464682127739104E-4,
                                 2.89247864745380683936E-6, 6.79019408009981274425E-9};

double normal_quantile(double p) {
    constexpr double tail = 0.13533528323661269189;  // e^-2
    if (!(p > 0 && p < 1)) return p == 0 ? -infinite : p == 1 ? infinite : nan;
    const bool is_upper = p > 1 - tail;
    const double y = is_upper ? 1 - p : p;
    if (y > tail) {
        const double centred = y - 0.5;
        const double square = centred * centred;
        const double ratio = square * polynomial(square, centre_top) / monic(square, centre_bottom);
        return (centred + centred * ratio) * 2.50662827463100050242;  // sqrt(2 pi)
    }
    const double x = std::sqrt(-2 * logarithm(y));
    const double z = 1 / x;
    const double less = x < 8 ? z * polynomial(z, tail_top) / monic(z, tail_bottom)
                              : z * polynomial(z, far_top) / monic(z, far_bottom);
    const double size = x - logarithm(x) / x - less;
    return is_upper ? size : -size;
}

using Function = double (*)(double);

Function function_of(Elementary function) {
    switch (function) {
        case Elementary::log:
            return logarithm;
        case Elementary::log1p:
            return logarithm_of_one_and;
        case Elementary::exp:
            return exponential;
        case Elementary::expm1:
            return exponential_less_one;
        case Elementary::normal_quantile:
            break;
    }
    return normal_quantile;
}

}  // namespace

void elementary(Elementary function, const double* x, Index n, double* out,
                const Control& control) {
    constexpr Index part = 4096;
    const Function f = function_of(function);
    for_each_task((n + part - 1) / part, control, [&](Index task, Pulse& /*pulse*/) {
        const Index end = std::min(n, (task + 1) * part);
        for (Index i = task * part; i < end; ++i) out[i] = f(x[i]);
    });
}

}  // namespace linnet
