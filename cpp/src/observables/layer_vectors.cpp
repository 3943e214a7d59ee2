#include "observables/layer_vectors.hpp"

#include <Eigen/SVD>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <future>
#include <limits>
#include <memory>
#include <optional>

#include "base/float_state.hpp"
#include "base/pool.hpp"

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

/// The same, unless `pulse` asks to stop. Eigen cannot be stopped: a large matrix is left to a thread
/// of its own, which goes on without anybody who waits.
std::optional<Leading> leading_unless(const Eigen::MatrixXd& matrix,
                                      const std::function<bool()>& pulse) {
    constexpr double takes_long = 200.0 * 200.0 * 200.0;
    const auto rows = static_cast<double>(matrix.rows());
    const auto cols = static_cast<double>(matrix.cols());
    if (rows * cols * std::min(rows, cols) < takes_long) return leading_of(matrix);
    struct Work {
        Eigen::MatrixXd matrix;
        std::packaged_task<Leading()> task;
    };
    const auto work = std::make_shared<Work>();
    work->matrix = matrix;
    work->task = std::packaged_task<Leading()>([of = work.get()] {
        const UsualFloats usual;
        return leading_of(of->matrix);
    });
    std::future<Leading> result = work->task.get_future();
    if (!ThreadPool::of_process().start({[work] { work->task(); }, [] {}})) work->task();
    while (result.wait_for(std::chrono::milliseconds(5)) != std::future_status::ready) {
        if (pulse()) return std::nullopt;
    }
    return result.get();
}

}  // namespace

LayerVectors layer_vectors_of(const std::vector<std::pair<Index, Index>>& shapes,
                              const std::vector<std::vector<double>>& layers,
                              const std::function<bool()>& pulse) {
    using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    LayerVectors found;
    Eigen::VectorXd left;  // of the layer below
    for (std::size_t l = 0; l < layers.size(); ++l) {
        const auto [rows, cols] = shapes[l];
        const Eigen::MatrixXd weights = Eigen::Map<const Matrix>(layers[l].data(), rows, cols);
        double ratio = nan;
        double cosine = nan;
        Eigen::VectorXd next_left = Eigen::VectorXd::Constant(rows, nan);
        if (weights.allFinite()) {
            const std::optional<Leading> leading = leading_unless(weights, pulse);
            if (leading && leading->first > 0) {
                ratio = leading->second / leading->first;
                if (l > 0) cosine = std::fabs(left.dot(leading->right));
                next_left = leading->left;
            }
        }
        found.ratios.push_back(ratio);
        if (l > 0) found.cosines.push_back(cosine);
        left = next_left;
    }
    return found;
}

}  // namespace linnet
