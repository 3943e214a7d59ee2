// Powers of the numbers of steps.
#pragma once

#include "linnet/index.hpp"

namespace linnet {

/// base^n, n = 0, 1, ...: one multiplication after another, and rounded as if it had just been set
/// to n.
class RunningPower {
public:
    void set(double base, Index n) {
        base_ = base;
        n_ = n;
        set_high();
        low_ = 1;
        for (Index k = 0; k < n % period; ++k) low_ *= base_;
    }
    void advance() {
        ++n_;
        low_ *= base_;
        if (n_ % period != 0) return;
        set_high();
        low_ = 1;
    }
    double value() const { return high_ * low_; }

private:
    static constexpr Index period = 16;

    /// base^(n - n mod period), by squares.
    void set_high() {
        high_ = 1;
        double square = base_;
        for (Index k = 1; k < period; ++k) high_ *= base_;
        square = high_ * base_;
        high_ = 1;
        for (Index k = n_ / period; k > 0; k /= 2) {
            if (k % 2 != 0) high_ *= square;
            square *= square;
        }
    }

    double base_ = 0, high_ = 1, low_ = 1;
    Index n_ = 0;
};

}  // namespace linnet
