// Roots of growing functions of one variable.
#pragma once

namespace linnet::reduced {

/// Where value(x) is 0 between 0, where it is `low` < 0, and `end`, where it is `high` >= 0: by the
/// rule of false position with halving (Illinois), to an error of 1e-16 of the bracket.
template <class F>
double false_position(const F& value, double end, double low, double high) {
    double a = 0;
    double b = end;
    double at = b;
    int side = 0;
    for (int i = 0; i < 100 && high > 0 && b - a > 1e-16 * b; ++i) {
        at = (a * high - b * low) / (high - low);
        if (!(at > a && at < b)) at = a + (b - a) / 2;
        const double found = value(at);
        if (found == 0 || at == a || at == b) break;
        if (found > 0) {
            b = at;
            high = found;
            if (side == 1) low /= 2;
            side = 1;
        } else {
            a = at;
            low = found;
            if (side == -1) high /= 2;
            side = -1;
        }
    }
    return at;
}

}  // namespace linnet::reduced
