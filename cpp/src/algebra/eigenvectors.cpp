#include <Eigen/Core>
#include <Eigen/Eigenvalues>
#include <limits>

#include "base/tasks.hpp"
#include "linnet/algebra.hpp"

namespace linnet {

void symmetric_eigenvectors(const RunArray<double>& matrix, const std::vector<Index>& run_shape,
                            Index n, double* values, double* vectors, const Control& control) {
    using Rows = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    for_each_task(n_runs_of(run_shape), control, [&](Index run, Pulse& /*pulse*/) {
        const Eigen::Map<const Rows> a(matrix.at(run, run_shape), n, n);
        Eigen::Map<Eigen::VectorXd> s(values + run * n, n);
        Eigen::Map<Rows> v(vectors + run * n * n, n, n);
        const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(a);
        if (solver.info() != Eigen::Success) {  // what is no number has none
            s.setConstant(std::numeric_limits<double>::quiet_NaN());
            v.setConstant(std::numeric_limits<double>::quiet_NaN());
            return;
        }
        s = solver.eigenvalues();
        v = solver.eigenvectors();
    });
}

}  // namespace linnet
