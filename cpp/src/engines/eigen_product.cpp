#include <Eigen/Core>
#include <algorithm>

#include "engines/direct_machine.hpp"

namespace linnet {

namespace {

// GEMM picks its blocks by the cache sizes it finds; the order of its sums, and so the bits, must
// not depend on the machine.
[[maybe_unused]] const bool cache_sizes_pinned = [] {
    Eigen::setCpuCacheSizes(32 * 1024, 1024 * 1024, 8 * 1024 * 1024);
    return true;
}();

}  // namespace

template <class T>
bool eigen_product(Product kind, const DirectOperands<T>& o, T* scratch,
                   const std::function<bool()>& pulse) {
    using RowMajor = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    using Stride = Eigen::OuterStride<>;
    using Map = Eigen::Map<RowMajor, 0, Stride>;
    using ConstMap = Eigen::Map<const RowMajor, 0, Stride>;
    const bool a_transposed = kind == Product::store_tn || kind == Product::update_tn;
    const bool b_transposed = kind == Product::store_nt || kind == Product::update_nt;
    const bool update = kind == Product::update_tn || kind == Product::update_nt;
    const ConstMap a(o.a, a_transposed ? o.inner : o.rows, a_transposed ? o.rows : o.inner,
                     Stride(o.lda));
    const ConstMap b(o.b, b_transposed ? o.cols : o.inner, b_transposed ? o.inner : o.cols,
                     Stride(o.ldb));
    // Panels of rows of about 10 ms each. Their height depends on the sizes only, so the bits do
    // too.
    const double row_work = static_cast<double>(o.cols) * static_cast<double>(o.inner);
    const Index height = std::max<Index>(64, static_cast<Index>(3e8 / row_work) / 64 * 64);
    for (Index row = 0; row < o.rows; row += height) {
        if (pulse()) return false;
        const Index rows = std::min(height, o.rows - row);
        Map out(update ? scratch : o.c + row * o.ldc, rows, o.cols, Stride(o.ldc));
        out.setZero();
        if (a_transposed) {
            out.noalias() += a.transpose().middleRows(row, rows) * b;
        } else if (b_transposed) {
            out.noalias() += a.middleRows(row, rows) * b.transpose();
        } else {
            out.noalias() += a.middleRows(row, rows) * b;
        }
        if (kind == Product::residual)
            out -= ConstMap(o.subtract + row * o.ldc, rows, o.cols, Stride(o.ldc));
        if (update) {
            for (Index i = 0; i < rows; ++i) {
                T* const c = o.c + (row + i) * o.ldc;
                const T* const gradient = scratch + i * o.ldc;
                for (Index j = 0; j < o.cols; ++j)
                    c[j] = descend(c[j], gradient[j], *o.step, o.decay);
            }
        }
    }
    return true;
}

template bool eigen_product<double>(Product, const DirectOperands<double>&, double*,
                                    const std::function<bool()>&);
template bool eigen_product<float>(Product, const DirectOperands<float>&, float*,
                                   const std::function<bool()>&);

}  // namespace linnet
