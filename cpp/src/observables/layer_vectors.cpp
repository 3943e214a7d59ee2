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

/// matrix^T matrix, or matrix matrix^T if `of_rows`, of entries over `scale`.
std::vector<double> gram_of(const Matrix& matrix, double scale, bool of_rows) {
    const Index n = of_rows ? matrix.rows : matrix.cols;
    const Index length = of_rows ? matrix.cols : matrix.rows;
    std::vector<double> lines(matrix.entries.size());  // one after the other
    for (Index i = 0; i < n; ++i) {
        for (Index k = 0; k < length; ++k)
            lines[static_cast<std::size_t>(i * length + k)] =
                (of_rows ? matrix(i, k) : matrix(k, i)) / scale;
    }
    std::vector<double> gram(static_cast<std::size_t>(n * n));
    for (Index i = 0; i < n; ++i) {
        for (Index j = 0; j <= i; ++j) {
            const double sum =
                ordered_dot(lines.data() + i * length, lines.data() + j * length, length);
            gram[static_cast<std::size_t>(i * n + j)] = sum;
            gram[static_cast<std::size_t>(j * n + i)] = sum;
        }
    }
    return gram;
}

/// The unit vector along matrix times x, or matrix^T x if `transposed`.
std::vector<double> direction_of(const Matrix& matrix, bool transposed, double scale,
                                 const std::vector<double>& x) {
    std::vector<double> y(static_cast<std::size_t>(transposed ? matrix.cols : matrix.rows));
    for (Index i = 0; i < matrix.rows; ++i) {
        for (Index j = 0; j < matrix.cols; ++j) {
            const auto to = static_cast<std::size_t>(transposed ? j : i);
            const auto from = static_cast<std::size_t>(transposed ? i : j);
            y[to] += matrix(i, j) / scale * x[from];
        }
    }
    const double norm = std::sqrt(ordered_dot(y.data(), y.data(), static_cast<Index>(y.size())));
    for (double& entry : y) entry /= norm;
    return y;
}

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
        if (values[i] > found.first) {
            found.second = found.first;
            found.first = values[i];
        } else {
            found.second = std::max(found.second, values[i]);
        }
    }
    const bool of_rows = matrix.rows < matrix.cols;
    const Index n = solver.count();
    const std::vector<double> gram = gram_of(matrix, largest, of_rows);
    std::vector<double> squares(static_cast<std::size_t>(n));
    std::vector<double> vectors(gram.size());
    symmetric_eigenvectors({gram.data(), {}}, {}, n, squares.data(), vectors.data(), {1, {}});
    std::vector<double> last(static_cast<std::size_t>(n));
    for (Index i = 0; i < n; ++i)
        last[static_cast<std::size_t>(i)] = vectors[static_cast<std::size_t>(i * n + n - 1)];
    std::vector<double> other = direction_of(matrix, of_rows, largest, last);
    found.left = of_rows ? last : other;
    found.right = of_rows ? std::move(other) : std::move(last);
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
