#include <utility>
#include <vector>

#include "plan/builder.hpp"

namespace linnet {

namespace {

/// Differentiates the operations of a gradient plan, one after the other, along a direction of the
/// weights.
class Tangents {
public:
    explicit Tangents(Plan plan) : tangent_(plan.matrices.size(), -1) {
        b_.plan = std::move(plan);
        for (const int id : b_.plan.weights) b_.plan.directions.push_back(fresh(id));
    }

    Plan build() {
        const std::size_t n_operations = b_.plan.gradient_end;
        b_.plan.tangent_begin = b_.plan.operations.size();
        for (std::size_t k = 0; k < n_operations; ++k) {
            if (k == b_.plan.product_end) {
                b_.plan.product_tangent = of(b_.plan.product);
                b_.plan.tangent_end = b_.plan.operations.size();
            }
            const Operation operation = b_.plan.operations[k];
            differentiate(operation);
        }
        for (const int id : b_.plan.gradients) b_.plan.curvatures.push_back(of(id));
        b_.plan.curvature_end = b_.plan.operations.size();
        return b_.plan;
    }

private:
    /// The tangent of a matrix; -1: it is zero.
    int of(int id) const { return id < 0 ? -1 : tangent_[static_cast<std::size_t>(id)]; }
    int fresh(int id) {
        const Plan::Matrix shape = b_[id];
        return tangent_[static_cast<std::size_t>(id)] = b_.add(shape.rows, shape.cols);
    }
    void differentiate(const Operation& o) {
        switch (o.kind) {
            case Product::residual:
            case Product::residual_diagonal:
            case Product::residual_by_loss:
                // The product that is moved on, and where: both stay to be looked at.
                b_.emit(Product::curvature_by_loss, fresh(o.c), o.a, of(o.a));
                return;
            case Product::combine:
                return combine(o);
            case Product::copy:
                if (of(o.a) >= 0) {
                    const int from = of(o.a);
                    b_.emit(Product::copy, o.c == o.a ? from : fresh(o.c), from, o.factor);
                }
                return;
            default:
                return multiply(o);
        }
    }
    /// C = A + factor C.
    void combine(const Operation& o) {
        const int a = of(o.a);
        const int c = of(o.c);
        if (a >= 0 && c >= 0) {
            b_.emit(Product::combine, c, a, o.factor);
        } else if (a >= 0) {
            b_.emit(Product::copy, fresh(o.c), a, 1.0);
        } else if (c >= 0) {
            b_.emit(Product::copy, c, c, o.factor);
        }
    }
    /// C = A B in one of its forms: linear in either.
    void multiply(const Operation& o) {
        const int a = of(o.a);
        const int b = of(o.b);
        if (a < 0 && b < 0) return;
        const int c = fresh(o.c);
        if (a >= 0) emit_like(o, c, a, o.b, o.gather);
        if (b < 0) return;
        // The weights of a factor move, what is fixed in it does not.
        const int gather = o.kind == Product::pattern ? without_fixed(o.gather) : o.gather;
        if (a < 0) {
            emit_like(o, c, o.a, b, gather);
            return;
        }
        const int other = b_.add(b_[c].rows, b_[c].cols);
        emit_like(o, other, o.a, b, gather);
        b_.emit(Product::combine, c, other, 1.0);
    }
    void emit_like(const Operation& o, int c, int a, int b, int gather) {
        Operation made = o;
        made.c = c;
        made.a = a;
        made.b = b;
        made.gather = gather;
        b_.plan.operations.push_back(made);
    }
    int without_fixed(int gather) {
        Gather moved = b_.plan.gathers[static_cast<std::size_t>(gather)];
        if (moved.fixed.empty()) return gather;
        moved.fixed_from.clear();
        moved.fixed.clear();
        moved.fixed_start.assign(moved.fixed_start.size(), 0);
        b_.plan.gathers.push_back(std::move(moved));
        return static_cast<int>(b_.plan.gathers.size()) - 1;
    }

    std::vector<int> tangent_;
    Builder b_;
};

}  // namespace

Plan curvature_plan(const Chain& chain, ResidualBy by) {
    return Tangents(gradient_plan(chain, by)).build();
}

}  // namespace linnet
