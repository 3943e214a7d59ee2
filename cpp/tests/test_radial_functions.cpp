// The evaluation of tables, by one that is easy to make: a coordinate that is uniform on [0, 1] in
// size.
#include <cmath>
#include <limits>

#include "check.hpp"
#include "linnet/train.hpp"
#include "losses/radial_functions.hpp"

using namespace linnet;

namespace {

using Long = long double;

/// Mean of f(u) over u in [0, 1], by Gauss-Legendre points on panels that get shorter towards 0.
template <class F>
Long mean(const F& f) {
    constexpr Long points[] = {0.1252334085114689L, 0.3678314989981802L, 0.5873179542866175L,
                               0.7699026741943047L, 0.9041172563704749L, 0.9815606342467193L};
    constexpr Long weights[] = {0.2491470458134028L, 0.2334925365383548L, 0.2031674267230659L,
                                0.1600783285433462L, 0.1069393259953184L, 0.0471753363865118L};
    Long total = 0;
    Long end = 1;
    for (int panel = 0; panel < 60; ++panel) {
        const Long begin = panel == 59 ? 0 : end * 0.75L;
        const Long half = (end - begin) / 2;
        for (int i = 0; i < 6; ++i) {
            total += weights[i] * half *
                     (f(begin + half * (1 - points[i])) + f(begin + half * (1 + points[i])));
        }
        end = begin;
    }
    return total;
}
Long q_of(Long z) {
    return mean([&](Long u) { return u * std::tanh(z * u / 2) / 2; });
}
Long h_of(Long z) {
    return mean([&](Long u) { return u / (1 + std::exp(z * u)); });
}
Long loss_of(Long z) {
    return mean([&](Long u) { return std::log1p(std::exp(-z * u)); });
}

/// Coefficients of the polynomial through values at nodes, by Newton's divided differences.
void interpolate(Long (&value)[8], const Long (&node)[8], double* to) {
    for (int k = 1; k < 8; ++k) {
        for (int i = 7; i >= k; --i) value[i] = (value[i] - value[i - 1]) / (node[i] - node[i - k]);
    }
    Long coefficient[8] = {value[7]};
    for (int k = 6; k >= 0; --k) {
        for (int i = 7; i > 0; --i) coefficient[i] = coefficient[i - 1] - node[k] * coefficient[i];
        coefficient[0] = value[k] - node[k] * coefficient[0];
    }
    for (int i = 0; i < 8; ++i) to[i] = static_cast<double>(coefficient[i]);
}

SphericalTable uniform_table(double scale) {
    SphericalTable table;
    table.scale = scale;
    table.kappa = scale / 4;
    table.m2 = scale * scale / 3;
    table.low = 0.25;
    table.high = 64;
    constexpr int n_parts = 1 << SphericalTable::piece_bits;
    const Index n_pieces = 8 * n_parts;
    table.split = n_pieces;
    for (Index piece = 0; piece < n_pieces; ++piece) {
        const Long octave = std::exp2(static_cast<Long>(piece / n_parts)) * 0.25L;
        Long node[8];
        Long pull[8];
        Long loss[8];
        const auto place = [&](Long t) {
            return octave * (1 + (static_cast<Long>(piece % n_parts) + 0.5L + t) / n_parts);
        };
        if (table.split == n_pieces && h_of(place(-0.5L)) < q_of(place(-0.5L))) table.split = piece;
        for (int i = 0; i < 8; ++i) {
            node[i] = std::cos((i + 0.5L) * 3.14159265358979323846L / 8) / 2;
            const Long z = place(node[i]);
            pull[i] = piece < table.split ? q_of(z) : h_of(z);
            loss[i] = loss_of(z);
        }
        table.gradient.resize(static_cast<std::size_t>(8 * (piece + 1)));
        table.loss.resize(static_cast<std::size_t>(8 * (piece + 1)));
        interpolate(pull, node, table.gradient.data() + 8 * piece);
        interpolate(loss, node, table.loss.data() + 8 * piece);
    }
    // tanh(x / 2) / 2 = x / 4 - x^3 / 48 + ..., moments E u^(2 k) = 1 / (2 k + 1)
    const double tangent[] = {1.0 / 4,       -1.0 / 48,      1.0 / 480,
                              -17.0 / 80640, 31.0 / 1451520, -691.0 / 319334400};
    for (int k = 0; k < SphericalTable::n_series; ++k) {
        table.small[static_cast<std::size_t>(k)] =
            tangent[k] / (2 * k + 3) * std::pow(table.low, 2 * k);
    }
    table.large[0] = 0.822467033424113218 / (64.0 * 64.0);  // pi^2 / 12, and no further term
    return table;
}

/// The other two ranges have few terms, so near their ends the test is on what they can do.
double tolerance(double z) { return z >= 0.25 ? 4e-15 : 4e-15 + std::pow(z / 3, 12); }

}  // namespace

TEST(radial_functions_equal_their_integrals) {
    const SphericalTable table = uniform_table(1);
    const RadialFunctions law(table);
    for (double z = 1e-3; z < 400; z *= 1.137) {
        const auto [h, q] = law.hq(z);
        const auto relative = [](double found, Long exact) {
            return std::abs(static_cast<double>((static_cast<Long>(found) - exact) / exact));
        };
        CHECK_MESSAGE(relative(h, h_of(z)) < tolerance(z), "h at " + std::to_string(z));
        CHECK_MESSAGE(relative(q, q_of(z)) < tolerance(z), "q at " + std::to_string(z));
        CHECK_MESSAGE(relative(law.loss(z), loss_of(z)) < tolerance(z),
                      "H at " + std::to_string(z));
    }
}

TEST(the_scale_of_a_law_is_that_of_its_norms) {
    const SphericalTable table = uniform_table(1);
    const SphericalTable wide = uniform_table(8);
    const RadialFunctions law(table);
    const RadialFunctions scaled(wide);
    for (double z = 1e-3; z < 400; z *= 1.3) {
        CHECK(scaled.hq(z / 8).h == 8 * law.hq(z).h);
        CHECK(scaled.hq(z / 8).q == 8 * law.hq(z).q);
        CHECK(scaled.loss(z / 8) == law.loss(z));
    }
    CHECK(scaled.kappa() == 2 && law.kappa() == 0.25);
    CHECK(scaled.m2() == 64 * law.m2());
}

TEST(norms_at_the_ends_of_the_range) {
    const SphericalTable table = uniform_table(1);
    const RadialFunctions law(table);
    CHECK(law.hq(0).h == 0.25 && law.hq(0).q == 0);
    CHECK(std::abs(law.loss(0) - std::log(2.0)) < 1e-16);
    constexpr double infinity = std::numeric_limits<double>::infinity();
    CHECK(law.hq(infinity).h == 0 && law.hq(infinity).q == 0.25 && law.loss(infinity) == 0);
    CHECK(std::abs(law.hq(1e-200).q - 1e-200 / 12) < 1e-215);
    CHECK(law.hq(1e200).h == 0 && law.hq(1e200).q == 0.25);
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    CHECK(std::isnan(law.hq(nan).h) && std::isnan(law.hq(nan).q) && std::isnan(law.loss(nan)));
    // No step where one range goes over into the next
    for (double z : {table.low, table.high, 1.0, 2.0, 1.03125}) {
        const double before = std::nextafter(z, 0);
        const double small = tolerance(before);
        CHECK(std::abs(law.hq(z).q - law.hq(before).q) < small * law.hq(z).q);
        CHECK(std::abs(law.hq(z).h - law.hq(before).h) < small * law.hq(z).h);
        CHECK(std::abs(law.loss(z) - law.loss(before)) < small * law.loss(z));
    }
}
