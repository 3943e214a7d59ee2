#include "linnet/elementary.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "base/simd.hpp"
#include "base/tasks.hpp"

namespace linnet {

namespace {

constexpr double infinite = std::numeric_limits<double>::infinity();
constexpr double nan = std::numeric_limits<double>::quiet_NaN();
// Few bits, so that whole multiples are exact, and the rest.
constexpr double ln2_high = 0x1.62e42fefa3800p-1;
constexpr double ln2_low = 0x1.ef35793c76730p-45;

// What has a type V is for numbers and for packs of them: the same operations, the same bits.

/// A number with twice the digits: high + low, low beyond the digits of high.
template <class V>
struct Long {
    V high, low;
};

template <class V>
Long<V> sum(V a, V b) {
    const V s = a + b;
    const V rest = s - a;
    return {s, (a - (s - rest)) + (b - rest)};
}

/// By halves of the digits: fused operations are not to be had everywhere.
template <class V>
Long<V> product(V a, V b) {
    const V split = broadcast<V>(134217729);  // 2^27 + 1
    const V p = a * b;
    const V a_cut = split * a;
    const V b_cut = split * b;
    const V a_high = a_cut - (a_cut - a);
    const V b_high = b_cut - (b_cut - b);
    const V a_low = a - a_high;
    const V b_low = b - b_high;
    return {p, ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low};
}

template <class V>
Long<V> product(Long<V> a, Long<V> b) {
    const Long<V> p = product(a.high, b.high);
    return sum(p.high, p.low + (a.high * b.low + a.low * b.high));
}

/// log(x + low) for x = m 2^k, sqrt(1/2) <= m < sqrt(2), and low far below it.
template <class V>
V log_of_parts(V m, V k, V x, V low) {
    const V one = broadcast<V>(1);
    const V two = broadcast<V>(2);
    // log m = 2 artanh s, s = (m - 1) / (m + 1).
    const V f = m - one;
    const Long<V> d = sum(m, one);
    const V s_high = f / d.high;
    const Long<V> back = product(s_high, d.high);
    const Long<V> s = {s_high, ((f - back.high) - back.low - s_high * d.low) / d.high};
    const Long<V> square = product(s, s);
    const V q = square.high;
    V rest = broadcast<V>(1.0 / 25);
    for (int i = 23; i >= 5; i -= 2) rest = rest * q + broadcast<V>(1.0 / i);
    Long<V> series = sum(broadcast<V>(1.0 / 3), q * rest);
    series.low = series.low + broadcast<V>(0x1.5555555555555p-56);  // of 1 / 3
    const Long<V> more = product(product(square, series), s);
    const Long<V> whole = sum(k * broadcast<V>(ln2_high), two * s.high);
    const Long<V> top = sum(whole.high, two * more.high);
    return top.high +
           (top.low + whole.low + two * (more.low + s.low) + k * broadcast<V>(ln2_low) + low / x);
}

constexpr double root_half = 0x1.6a09e667f3bcdp-1;  // sqrt(1/2)

/// log(x + low), for x normal or not, positive and finite, and low far below it.
double log_of(double x, double low) {
    int k;
    double m = std::frexp(x, &k);
    if (m < root_half) {
        m *= 2;
        --k;
    }
    return log_of_parts<double>(m, k, x, low);
}

double logarithm(double x) {
    if (!(x > 0)) return x == 0 ? -infinite : nan;
    return x == infinite ? x : log_of(x, 0);
}

double logarithm_of_one_and(double x) {
    if (!(x > -1)) return x == -1 ? -infinite : nan;
    if (x == infinite || std::fabs(x) < 0x1p-54) return x;
    const Long<double> one_and = sum(1.0, x);
    return log_of(one_and.high, one_and.low);
}

/// e^x = 2^exponent (high + low).
struct Power {
    Long<double> part;
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
    const Long<double> one_and = sum(1.0, r);
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
    const Long<double> less = sum(std::ldexp(p.part.high, p.exponent), -1.0);
    return less.high + (less.low + std::ldexp(p.part.low, p.exponent));
}

/// The polynomial with these coefficients, from the highest power down.
template <class V, int n>
V polynomial(V x, const double (&coefficients)[n]) {
    V value = broadcast<V>(coefficients[0]);
    for (int i = 1; i < n; ++i) value = value * x + broadcast<V>(coefficients[i]);
    return value;
}

/// The same with a leading coefficient of 1 before them.
template <class V, int n>
V monic(V x, const double (&coefficients)[n]) {
    V value = x + broadcast<V>(coefficients[0]);
    for (int i = 1; i < n; ++i) value = value * x + broadcast<V>(coefficients[i]);
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

constexpr double tail = 0.13533528323661269189;  // e^-2

/// Of y with tail < y <= 1 - tail.
template <class V>
V centre_quantile(V y) {
    const V centred = y - broadcast<V>(0.5);
    const V square = centred * centred;
    const V ratio = square * polynomial(square, centre_top) / monic(square, centre_bottom);
    return (centred + centred * ratio) * broadcast<V>(2.50662827463100050242);  // sqrt(2 pi)
}

/// Of the other side: how far out the probability beyond is that of x = sqrt(-2 log y), x < 8.
template <class V>
V tail_quantile(V x, V log_x) {
    const V z = broadcast<V>(1) / x;
    return x - log_x / x - z * polynomial(z, tail_top) / monic(z, tail_bottom);
}

double normal_quantile(double p) {
    if (!(p > 0 && p < 1)) return p == 0 ? -infinite : p == 1 ? infinite : nan;
    const bool is_upper = p > 1 - tail;
    const double y = is_upper ? 1 - p : p;
    if (y > tail) return centre_quantile(y);
    const double x = std::sqrt(-2 * logarithm(y));
    double size;
    if (x < 8) {
        size = tail_quantile(x, logarithm(x));
    } else {
        const double z = 1 / x;
        size = x - logarithm(x) / x - z * polynomial(z, far_top) / monic(z, far_bottom);
    }
    return is_upper ? size : -size;
}

using V = Pack<double, native_lanes<double>>;
constexpr int lanes = native_lanes<double>;
using Bits = std::int64_t __attribute__((vector_size(sizeof(V))));

/// Of positive normal numbers.
V log_of_pack(V x) {
    constexpr std::int64_t digits = (std::int64_t{1} << 52) - 1;
    constexpr std::int64_t half = std::int64_t{1022} << 52;
    constexpr std::int64_t whole = std::int64_t{1075} << 52;  // 2^52, whose digits are an integer
    const Bits bits = reinterpret_cast<Bits>(x);
    V m = reinterpret_cast<V>((bits & digits) | half);
    V k = reinterpret_cast<V>((bits >> 52) | whole) - broadcast<V>(0x1p52 + 1022);
    const auto is_small = less(m, broadcast<V>(root_half));
    m = select(is_small, m * broadcast<V>(2), m);
    k = select(is_small, k - broadcast<V>(1), k);
    return log_of_parts(m, k, x, V{});
}

/// Many at once: the middle by packs, the tails in packs of their own.
void normal_quantiles(const double* p, Index n, double* out) {
    constexpr Index part = 512;
    double beyond[part + lanes];
    Index places[part];
    for (Index begin = 0; begin < n; begin += part) {
        const Index end = std::min(n, begin + part);
        Index n_beyond = 0;
        Index i = begin;
        for (; i + lanes <= end; i += lanes) {
            V y;
            std::memcpy(&y, p + i, sizeof(V));
            const V middle = centre_quantile(y);
            std::memcpy(out + i, &middle, sizeof(V));
            for (int r = 0; r < lanes; ++r) {
                const double one = y[r];
                if (one > tail && one <= 1 - tail) continue;
                if (one > 1e-13 && one < 1 - 1e-13) {  // x < 8
                    beyond[n_beyond] = one > 0.5 ? 1 - one : one;
                    places[n_beyond++] = i + r;
                } else {
                    out[i + r] = normal_quantile(one);
                }
            }
        }
        for (; i < end; ++i) out[i] = normal_quantile(p[i]);
        std::fill_n(beyond + n_beyond, lanes, 0.5);
        for (Index k = 0; k < n_beyond; k += lanes) {
            V y;
            std::memcpy(&y, beyond + k, sizeof(V));
            const V x = square_root(broadcast<V>(-2) * log_of_pack(y));
            const V size = tail_quantile(x, log_of_pack(x));
            for (Index r = 0; r < std::min<Index>(lanes, n_beyond - k); ++r) {
                const Index place = places[k + r];
                out[place] = p[place] > 0.5 ? size[r] : -size[r];
            }
        }
    }
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
        if (function == Elementary::normal_quantile) {
            normal_quantiles(x + task * part, end - task * part, out + task * part);
            return;
        }
        for (Index i = task * part; i < end; ++i) out[i] = f(x[i]);
    });
}

}  // namespace linnet
