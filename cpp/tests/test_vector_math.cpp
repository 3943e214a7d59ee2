// Elementary functions of packs against long double: errors in ulps, tails, limits, NaN; and lanes
// that do not notice each other.
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <vector>

#include "base/vector_math.hpp"
#include "check.hpp"

using namespace linnet;

namespace {

template <class T>
using V = Pack<T, native_lanes<T>>;
template <class T>
using Numbers = std::vector<T>;

constexpr double inf = std::numeric_limits<double>::infinity();
constexpr double nan = std::numeric_limits<double>::quiet_NaN();

/// f of every number, a pack at a time.
template <class T, class Function>
Numbers<T> of_packs(const Numbers<T>& x, const Function& f) {
    constexpr std::size_t lanes = native_lanes<T>;
    Numbers<T> y(x.size());
    for (std::size_t i = 0; i < x.size(); i += lanes) {
        V<T> pack{};
        for (std::size_t r = 0; r < lanes; ++r) pack[r] = x[std::min(i + r, x.size() - 1)];
        const V<T> value = f(pack);
        for (std::size_t r = 0; r < lanes && i + r < x.size(); ++r) y[i + r] = value[r];
    }
    return y;
}

/// |got - want| in units of the spacing of T at want, at least that of the smallest normal number.
template <class T>
double ulps(T got, long double want) {
    int exponent;
    const long double least = std::numeric_limits<T>::min();
    std::frexp(std::max(std::fabs(want), least), &exponent);
    const long double spacing = std::ldexp(1.0L, exponent - std::numeric_limits<T>::digits);
    return static_cast<double>(std::fabs(static_cast<long double>(got) - want) / spacing);
}

/// Numbers from low to high: evenly, at random, and geometrically away from 0 on both sides as far
/// as they reach.
template <class T>
Numbers<T> spread(double low, double high) {
    std::mt19937_64 generator(3);
    std::uniform_real_distribution<double> uniform(low, high);
    Numbers<T> x{static_cast<T>(low), static_cast<T>(high)};
    for (int i = 0; i < 20000; ++i) x.push_back(static_cast<T>(low + (high - low) * i / 20000));
    for (int i = 0; i < 40000; ++i) x.push_back(static_cast<T>(uniform(generator)));
    for (double size = 1e-30; size < 1e9; size *= 1.01) {
        for (const double value : {size, -size}) {
            if (low <= value && value <= high) x.push_back(static_cast<T>(value));
        }
    }
    return x;
}

/// The largest error in ulps.
template <class T, class Function, class Exact>
double error(const Numbers<T>& x, const Function& f, const Exact& exact) {
    const Numbers<T> y = of_packs(x, f);
    double largest = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        const double own = ulps(y[i], exact(static_cast<long double>(x[i])));
        if (!(own <= largest)) largest = own;  // NaN too
    }
    return largest;
}

void check_at_most(double found, double bound, const char* what) {
    CHECK_MESSAGE(found <= bound, std::string(what) + ": an error of " + std::to_string(found) +
                                      " ulps, at most " + std::to_string(bound) + " allowed");
}

template <class T>
T one(T x, const std::function<V<T>(V<T>)>& f) {
    return of_packs<T>({x}, f)[0];
}

template <class T>
void check_exponentials() {
    constexpr bool is_double = sizeof(T) == 8;
    constexpr double least = is_double ? -708 : -87;
    constexpr double most = is_double ? 709 : 88;
    constexpr T huge = static_cast<T>(inf);
    const auto exponential_of = [](V<T> x) { return exponential(x); };
    const auto logistic_of = [](V<T> x) { return falling_logistic(x); };
    const auto loss_of = [](V<T> x) { return logistic_loss(x); };
    const auto exponential_loss_of = [](V<T> x) { return exponential_loss(x); };

    check_at_most(
        error(spread<T>(least, most), exponential_of, [](long double x) { return std::exp(x); }),
        1.5, "exponential");
    check_at_most(error(spread<T>(-1e8, -least), logistic_of,
                        [](long double x) { return 1 / (1 + std::exp(x)); }),
                  3, "falling_logistic");
    check_at_most(
        error(spread<T>(-40, 40), logistic_of, [](long double x) { return 1 / (1 + std::exp(x)); }),
        3, "falling_logistic");
    const auto exact_loss = [](long double x) {
        return x > 0 ? std::log1p(std::exp(-x)) : -x + std::log1p(std::exp(x));
    };
    check_at_most(error(spread<T>(-1e8, -least), loss_of, exact_loss), 4, "logistic_loss");
    check_at_most(error(spread<T>(-40, 40), loss_of, exact_loss), 4, "logistic_loss");
    check_at_most(error(spread<T>(least, -least), exponential_loss_of,
                        [](long double x) { return std::exp(-x); }),
                  1.5, "exponential_loss");

    // Beyond, where results leave the normal numbers: nothing but 0, the smallest of them, or
    // infinity.
    const T tiny = 4 * std::numeric_limits<T>::min();
    for (const double x : {-least + 0.01, 1e3, 1e8, inf}) {
        const T far = static_cast<T>(x);
        CHECK(one<T>(far, logistic_of) >= 0 && one<T>(far, logistic_of) <= tiny);
        CHECK(one<T>(far, loss_of) >= 0 && one<T>(far, loss_of) <= tiny);
        CHECK(one<T>(far, exponential_loss_of) >= 0 && one<T>(far, exponential_loss_of) <= tiny);
        CHECK(one<T>(-far, logistic_of) == 1);
        CHECK(one<T>(-far, loss_of) == far);
    }
    for (const double x : {most + 1.0, 1e3, 1e8, inf})
        CHECK(one<T>(static_cast<T>(-x), exponential_loss_of) == huge);
    CHECK(one<T>(static_cast<T>(-1e5), exponential_of) ==
          one<T>(static_cast<T>(least), exponential_of));
    CHECK(one<T>(static_cast<T>(1e5), exponential_of) ==
          one<T>(static_cast<T>(most), exponential_of));
    CHECK(one<T>(-huge, exponential_of) == one<T>(static_cast<T>(least), exponential_of));
    CHECK(one<T>(huge, exponential_of) == one<T>(static_cast<T>(most), exponential_of));
    CHECK(one<T>(T{0}, exponential_of) == 1);
    CHECK(one<T>(-T{0}, exponential_of) == 1);
    CHECK(one<T>(T{0}, logistic_of) == T{0.5});
    for (const double sign : {1.0, -1.0}) {
        const T not_a_number = static_cast<T>(std::copysign(nan, sign));
        CHECK(std::isnan(one<T>(not_a_number, exponential_of)));
        CHECK(std::isnan(one<T>(not_a_number, logistic_of)));
        CHECK(std::isnan(one<T>(not_a_number, loss_of)));
        CHECK(std::isnan(one<T>(not_a_number, exponential_loss_of)));
    }
}

template <class T>
void check_log1p() {
    Numbers<T> x = spread<T>(0, 1);
    for (double small = 1e-37; small < 1; small *= 1.1) x.push_back(static_cast<T>(small));
    check_at_most(
        error(
            x, [](V<T> v) { return log1p_unit(v); }, [](long double v) { return std::log1p(v); }),
        3, "log1p_unit");
    CHECK(one<T>(T{0}, [](V<T> v) { return log1p_unit(v); }) == 0);
}

/// A lane in any company gives the bits that it gives alone.
template <class T, class Function>
void check_lanes(const char* what, const Numbers<T>& x, const Function& f) {
    constexpr int lanes = native_lanes<T>;
    for (std::size_t i = 0; i < x.size(); ++i) {
        const V<T> alone = f(broadcast<V<T>>(x[i]));
        for (int place = 0; place < lanes; ++place) {
            V<T> mixed{};
            for (int r = 0; r < lanes; ++r) mixed[r] = x[(i + 7 * r + 1) % x.size()];
            mixed[place] = x[i];
            const T a = alone[0];
            const T b = f(mixed)[place];
            CHECK_MESSAGE(std::memcmp(&a, &b, sizeof(T)) == 0 || (std::isnan(a) && std::isnan(b)),
                          std::string(what) + " of " + std::to_string(x[i]));
        }
    }
}

template <class T>
void check_all_lanes() {
    const Numbers<T> any{T(-1e30), T(-800), T(-90), T(-1),   T(-1e-9), T(0),
                         T(1e-9),  T(0.3),  T(1),   T(20),   T(87),    T(708),
                         T(709.5), T(1e30), T(inf), T(-inf), T(nan)};
    check_lanes<T>("exponential", any, [](V<T> x) { return exponential(x); });
    check_lanes<T>("falling_logistic", any, [](V<T> x) { return falling_logistic(x); });
    check_lanes<T>("logistic_loss", any, [](V<T> x) { return logistic_loss(x); });
    check_lanes<T>("exponential_loss", any, [](V<T> x) { return exponential_loss(x); });
    check_lanes<T>("log1p_unit", {T(0), T(1e-20), T(0.1), T(0.5), T(1)},
                   [](V<T> x) { return log1p_unit(x); });
}

}  // namespace

TEST(exponentials_of_double_are_within_ulps) { check_exponentials<double>(); }
TEST(exponentials_of_float_are_within_ulps) { check_exponentials<float>(); }
TEST(log1p_is_within_ulps) {
    check_log1p<double>();
    check_log1p<float>();
}
TEST(lanes_do_not_notice_each_other) {
    check_all_lanes<double>();
    check_all_lanes<float>();
    check_lanes<double>("logarithm", {1e-300, 0.1, 0.7, 0.75, 1, 1.5, 2, 1e300},
                        [](V<double> x) { return logarithm(x); });
}

TEST(logarithm_is_within_ulps) {
    std::mt19937_64 generator(7);
    std::uniform_real_distribution<double> exponents(-1022, 1023);
    Numbers<double> x{std::numeric_limits<double>::min(), std::numeric_limits<double>::max(),
                      0x1p-53, 1 - 0x1p-53};
    for (int i = 0; i < 40000; ++i) x.push_back(std::exp2(exponents(generator)));
    for (int i = 1; i < 20000; ++i) x.push_back(i / 10000.0);
    // The logarithm vanishes at 1, and still must not lose digits.
    for (double size = 1e-16; size < 0.3; size *= 1.05) {
        x.push_back(1 + size);
        x.push_back(1 - size);
    }
    check_at_most(
        error(
            x, [](V<double> v) { return logarithm(v); }, [](long double v) { return std::log(v); }),
        3, "logarithm");
    CHECK(one<double>(1, [](V<double> v) { return logarithm(v); }) == 0);
}

TEST(unit_circle_is_within_ulps) {
    const auto cosine = [](V<double> turn) {
        V<double> c;
        V<double> s;
        unit_circle(turn, c, s);
        return c;
    };
    const auto sine = [](V<double> turn) {
        V<double> c;
        V<double> s;
        unit_circle(turn, c, s);
        return s;
    };
    const double cosines[] = {1, 0, -1, 0, 1};
    const double sines[] = {0, 1, 0, -1, 0};
    for (int quarter = 0; quarter <= 4; ++quarter) {
        CHECK(one<double>(quarter / 4.0, cosine) == cosines[quarter]);
        CHECK(one<double>(quarter / 4.0, sine) == sines[quarter]);
    }
    Numbers<double> turns = spread<double>(0, 1);
    for (int quarter = 0; quarter <= 4; ++quarter) {
        for (double size = 1e-12; size < 0.2; size *= 1.1) {
            for (const double turn : {quarter / 4.0 + size, quarter / 4.0 - size}) {
                if (turn >= 0 && turn <= 1) turns.push_back(turn);
            }
        }
    }
    // sin(2 pi turn) for |turn| <= 1/8, where pi / 4 at most is rounded, and the rest by symmetry:
    // relative to itself.
    constexpr long double pi = 3.141592653589793238462643383279502884L;
    const auto exact = [](long double turn, int shift) {
        const auto quarter = static_cast<int>(std::lround(4 * turn));
        const long double angle = 2 * pi * (turn - quarter / 4.0L);
        const int number = (quarter + shift) % 4;
        const long double value = number % 2 == 0 ? std::sin(angle) : std::cos(angle);
        return number >= 2 ? -value : value;
    };
    check_at_most(error(turns, sine, [&](long double turn) { return exact(turn, 0); }), 3, "sine");
    check_at_most(error(turns, cosine, [&](long double turn) { return exact(turn, 1); }), 3,
                  "cosine");
    for (const double turn : turns) {
        const double c = one<double>(turn, cosine);
        const double s = one<double>(turn, sine);
        CHECK(std::abs(c * c + s * s - 1) < 1e-15);
    }
}
