// Newton's method over kernels.
#pragma once

#include <Eigen/Cholesky>
#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "base/parallel.hpp"
#include "theories/kernel_cost/objective.hpp"

namespace linnet {

namespace kernel {

inline constexpr int max_descent_steps = 1000;

/// Minimises F over kernels, which are unit vectors.
class KernelDescent {
public:
    explicit KernelDescent(Objective& objective) : f_(objective) {
        for (Vector* v : {&point, &trial_, &move_}) v->resize(f_.size);
        for (std::size_t g = 0; g < f_.n_groups; ++g) {
            real_.emplace_back(f_.weights.size());
            imaginary_.emplace_back(f_.weights.size());
        }
        shifted_.resize(f_.size, f_.size);
    }

    Vector point;

    auto group(Vector& v, std::size_t g) const { return v.segment(f_.first[g], f_.taps(g)); }

    /// The first starts lean towards one tap, later ones are anywhere.
    void begin(int start, std::mt19937_64& generator, std::normal_distribution<double>& normal) {
        for (std::size_t g = 0; g < f_.n_groups; ++g) {
            auto u = group(point, g);
            for (Index t = 0; t < f_.taps(g); ++t) {
                const double noise = normal(generator);
                const double decay = std::pow(0.5, static_cast<double>(t));
                u[t] = start == 0   ? (t == 0 ? 1.0 : 0.2 * decay * noise)
                       : start == 1 ? decay * (t % 2 == 0 ? 1.0 : -1.0) + 0.1 * noise
                                    : noise;
            }
            u.normalize();
        }
    }

    /// Newton's method from the point, damped; returns F where it ends.
    double minimise(Pulse& stop) {
        double value = evaluate(point);
        if (!std::isfinite(value)) return value;
        shift_ = 0;
        double last = infinity;
        for (int iteration = 0; iteration < max_descent_steps && !stop(); ++iteration) {
            differentiate();
            const double slope = aim();
            // Where F is too flat for its values to tell, the slope does.
            const bool is_flat = slope <= 1e-13 * (f_.n_layers + std::abs(value));
            if (!(slope >= 0) || (is_flat && slope > 0.9 * last)) break;
            const double next = is_flat ? go(1) : search(value, slope);
            if (!std::isfinite(next)) break;
            value = next;
            last = slope;
            if (slope <= 1e-20 * f_.n_layers) return value;
        }
        return evaluate(point);
    }

private:
    double evaluate(Vector& u) {
        for (std::size_t g = 0; g < f_.n_groups; ++g) {
            auto a = real_[g].head(f_.n);
            auto b = imaginary_[g].head(f_.n);
            a.noalias() = f_.cosine(g) * group(u, g);
            b.noalias() = f_.sine(g) * group(u, g);
            f_.power[g].head(f_.n) = a.cwiseAbs2() + b.cwiseAbs2();
        }
        return f_.value();
    }

    /// Gradient and Hessian of F at the point, where F has just been evaluated. F does not change
    /// along the kernels themselves; the Hessian is made definite there.
    void differentiate() {
        for (std::size_t g = 0; g < f_.n_groups; ++g) {
            auto v = f_.slopes[g].topRows(f_.n);
            // In place, for an expression would be put into memory of its own.
            auto a = real_[g].head(f_.n).array();
            auto b = imaginary_[g].head(f_.n).array();
            a /= f_.power[g].head(f_.n).array() / 2;
            b /= f_.power[g].head(f_.n).array() / 2;
            v = f_.cosine(g).array().colwise() * a;
            v.array() += f_.sine(g).array().colwise() * b;
        }
        f_.differentiate();
        for (std::size_t g = 0; g < f_.n_groups; ++g) {
            const double m = f_.multiplicity(g);
            const auto u = group(point, g);
            const Index n = f_.taps(g);
            f_.set_tau(g);
            auto block = f_.hessian.block(f_.first[g], f_.first[g], n, n);
            for (Index i = 0; i < n; ++i) {
                for (Index j = 0; j <= i; ++j)
                    block(i, j) -= m * (2 * f_.tau[g][i - j] + 3 * u[i] * u[j]);
                block(i, i) += 2 * m;
            }
            group(f_.gradient, g) += 2 * m * u;
        }
    }

    /// move_ <- Newton's, with as much of the identity as makes the Hessian positive definite.
    /// Returns the slope along it, NaN if there is none.
    double aim() {
        const double scale = std::max(f_.hessian.diagonal().cwiseAbs().maxCoeff(), 1e-300);
        for (; shift_ <= 1e6; shift_ = std::max(4 * shift_, 1e-9)) {
            shifted_ = f_.hessian;
            shifted_.diagonal().array() += shift_ * scale;
            const Eigen::LLT<Eigen::Ref<Matrix>> factors(shifted_);
            if (factors.info() != Eigen::Success) continue;
            move_ = f_.gradient;
            factors.solveInPlace(move_);
            return move_.dot(f_.gradient);
        }
        return std::numeric_limits<double>::quiet_NaN();
    }

    /// Go against move_ by a length and return F there.
    double go(double length) {
        trial_ = point - length * move_;
        for (std::size_t g = 0; g < f_.n_groups; ++g) group(trial_, g).normalize();
        const double next = evaluate(trial_);
        if (std::isfinite(next)) {
            trial_.swap(point);
            if (length == 1) shift_ = shift_ < 1e-11 ? 0 : shift_ / 10;
        }
        return next;
    }

    /// The same by the first length of 1, 1/2, 1/4 ... that lowers F well; infinity if there is
    /// none.
    double search(double value, double slope) {
        // No step longer than the kernels.
        double length = 1 / std::max(1.0, 2 * move_.norm());
        for (int halving = 0; halving < 40; ++halving, length /= 2) {
            const double next = go(length);
            if (!std::isfinite(next)) continue;
            if (next <= value - 1e-4 * length * slope) return next;
            trial_.swap(point);
        }
        return infinity;
    }

    Objective& f_;
    double shift_ = 0;
    Vector trial_, move_;
    std::vector<Vector> real_, imaginary_;
    Matrix shifted_;
};

}  // namespace kernel

}  // namespace linnet
