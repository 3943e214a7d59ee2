#include "observables/layer_vectors.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <future>
#include <limits>
#include <memory>
#include <optional>

#include "algebra/ordered.hpp"
#include "base/float_state.hpp"
#include "base/pool.hpp"
#include "linnet/algebra.hpp"
#include "observables/singular_values.hpp"

namespace linnet {

namespace {

struct Matrix {
    Index rows, cols;
    std::vector<double> entries;  // in C order

    double operator()(Index i, Index j) const {
        return entries[static_cast<std::size_t>(i * cols + j)];
    }
};

/// First and second singular value and the first singular vectors of a matrix.
struct Leading {
    double first = 0, second = 0;
    std::vector<double> left, right;
};

/// The vectors come from the smaller Gram matrix: its first eigenvector is as well determined as the
/// first singular vector, s1^2 - s2^2 being at least s1 (s1 - s2).
Leading leading_of(const Matrix& matrix, const std::function<bool()>& pulse) {
    double largest = 0;
    for (const double entry : matrix.entries) largest = std::max(largest, std::fabs(entry));
    Leading found;
    if (largest == 0) return found;
    SingularValues<double> solver(matrix.rows, matrix.cols);
    const double* const values = solver.of(matrix, pulse);
    for (Index i = 0; i < solver.count(); ++i) {
        found.second = std::max(found.second, std::min(found.first, values[i]));
        found.first = std::max(found.first, values[i]);
    }
    // The matrix or its transpose, whichever has no more columns than rows.
    const bool is_wide = matrix.rows < matrix.cols;
    const Index n_rows = std::max(matrix.rows, matrix.cols);
    const Index n = solver.count();
    const auto size = [](Index count) { return static_cast<std::size_t>(count); };
    std::vector<double> tall(size(n_rows * n));
    for (Index i = 0; i < n_rows; ++i) {
        for (Index j = 0; j < n; ++j)
            tall[size(i * n + j)] = (is_wide ? matrix(j, i) : matrix(i, j)) / largest;
    }
    const Control alone{1, {}};
    std::vector<double> gram(size(n * n)), squares(size(n)), vectors(size(n * n));
    cross_products({tall.data(), {}}, {tall.data(), {}}, {}, n_rows, n, n, gram.data(), alone);
    symmetric_eigenvectors({gram.data(), {}}, {}, n, squares.data(), vectors.data(), alone);
    std::vector<double> lesser(size(n)), greater(size(n_rows));
    for (Index j = 0; j < n; ++j) lesser[size(j)] = vectors[size(j * n + n - 1)];
    for (Index i = 0; i < n_rows; ++i)
        greater[size(i)] = ordered_dot(tall.data() + i * n, lesser.data(), n);
    const double norm = std::sqrt(ordered_dot(greater.data(), greater.data(), n_rows));
    for (double& entry : greater) entry /= norm;
    found.left = is_wide ? lesser : greater;
    found.right = is_wide ? std::move(greater) : std::move(lesser);
    return found;
}

/// The same, unless `pulse` asks to stop. Eigen cannot be stopped: a large matrix is left to a thread
/// of its own, which goes on without anybody who waits.
std::optional<Leading> leading_unless(const Matrix& matrix, const std::function<bool()>& pulse) {
    constexpr double takes_long = 200.0 * 200.0 * 200.0;
    const auto rows = static_cast<double>(matrix.rows);
    const auto cols = static_cast<double>(matrix.cols);
    if (rows * cols * std::min(rows, cols) < takes_long) return leading_of(matrix, pulse);
    struct Work {
        Matrix matrix;
        std::packaged_task<Leading()> task;
    };
    const auto work = std::make_shared<Work>();
    work->matrix = matrix;
    work->task = std::packaged_task<Leading()>([of = work.get()] {
        const UsualFloats usual;
        return leading_of(of->matrix, [] { return false; });
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
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    LayerVectors found;
    std::vector<double> left;  // of the layer below
    for (std::size_t l = 0; l < layers.size(); ++l) {
        const auto [rows, cols] = shapes[l];
        double ratio = nan;
        double cosine = nan;
        std::vector<double> next_left(static_cast<std::size_t>(rows), nan);
        const bool finite = std::all_of(layers[l].begin(), layers[l].end(),
                                        [](double entry) { return std::isfinite(entry); });
        if (finite) {
            std::optional<Leading> leading = leading_unless({rows, cols, layers[l]}, pulse);
            if (leading && leading->first > 0) {
                ratio = leading->second / leading->first;
                if (l > 0)
                    cosine = std::fabs(ordered_dot(left.data(), leading->right.data(), cols));
                next_left = std::move(leading->left);
            }
        }
        found.ratios.push_back(ratio);
        if (l > 0) found.cosines.push_back(cosine);
        left = std::move(next_left);
    }
    return found;
}

}  // namespace linnet
