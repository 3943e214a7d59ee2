#include "layer_vectors.hpp"

#include <Eigen/SVD>
#include <cmath>
#include <limits>

namespace linnet {

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
            const Eigen::BDCSVD<Eigen::MatrixXd> svd(weights,
                                                     Eigen::ComputeThinU | Eigen::ComputeThinV);
            const auto& values = svd.singularValues();
            if (values[0] > 0) {
                ratio = values.size() > 1 ? values[1] / values[0] : 0;
                if (l > 0) cosine = std::fabs(left.dot(svd.matrixV().col(0)));
                next_left = svd.matrixU().col(0);
            }
        }
        if (ratios != nullptr) ratios[l] = ratio;
        if (alignments != nullptr && l > 0) alignments[l - 1] = cosine;
        left = next_left;
    }
}

}  // namespace linnet
