#include "observables/layer_vectors.hpp"

#include <Eigen/SVD>
#include <algorithm>
#include <cmath>
#include <limits>

namespace linnet {

namespace {

/// First and second singular value and the first singular vectors of a matrix.
struct Leading {
    double first, second;
    Eigen::VectorXd left, right;
};

template <class Svd>
Leading leading_of(const Svd& svd) {
    const auto& values = svd.singularValues();
    return {values[0], values.size() > 1 ? values[1] : 0, svd.matrixU().col(0),
            svd.matrixV().col(0)};
}

Leading leading_of(const Eigen::MatrixXd& matrix) {
    // Jacobi's method takes longer from here on; below, it is as fast and the more accurate one.
    constexpr Index divided_from = 64;
    constexpr int thin = Eigen::ComputeThinU | Eigen::ComputeThinV;
    if (std::min(matrix.rows(), matrix.cols()) >= divided_from)
        return leading_of(Eigen::BDCSVD<Eigen::MatrixXd>(matrix, thin));
    return leading_of(Eigen::JacobiSVD<Eigen::MatrixXd>(matrix, thin));
}

}  // namespace

void LayerVectors::write(const std::vector<const double*>& layers, double* ratios,
                         double* alignments) const {
    using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    Eigen::VectorXd left;  // of the layer below
    for (std::size_t l = 0; l < layers.size(); ++l) {
        const auto [rows, cols] = shapes_[l];
        const Eigen::MatrixXd weights = Eigen::Map<const Matrix>(layers[l], rows, cols);
        double ratio = nan;
        double cosine = nan;
        Eigen::VectorXd next_left = Eigen::VectorXd::Constant(rows, nan);
        if (weights.allFinite()) {
            const Leading leading = leading_of(weights);
            if (leading.first > 0) {
                ratio = leading.second / leading.first;
                if (l > 0) cosine = std::fabs(left.dot(leading.right));
                next_left = leading.left;
            }
        }
        if (ratios != nullptr) ratios[l] = ratio;
        if (alignments != nullptr && l > 0) alignments[l - 1] = cosine;
        left = next_left;
    }
}

}  // namespace linnet
