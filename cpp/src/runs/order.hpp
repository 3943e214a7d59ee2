// In which order the runs of a batch are begun.
#pragma once

#include <cstddef>
#include <type_traits>
#include <variant>
#include <vector>

#include "linnet/loss.hpp"

namespace linnet {

/// Runs that have the arrays of their loss in common come one after the other, so that they are side by
/// side in the lanes, where what they share is read once. Else C order.
class RunOrder {
public:
    RunOrder(const LossData& loss, const std::vector<Index>& run_shape) {
        // The axes along which arrays differ turn slowest.
        for (const bool outer : {true, false}) {
            Index stride = 1;
            for (std::size_t k = run_shape.size(); k-- > 0; stride *= run_shape[k]) {
                if (differs(loss, k) == outer)
                    axes_.insert(axes_.begin() + n_of(outer), {run_shape[k], stride});
            }
            if (outer) n_outer_ = axes_.size();
        }
    }

    /// The number of a run in C order, given its place.
    Index run(Index place) const {
        Index found = 0;
        for (std::size_t k = axes_.size(); k-- > 0; place /= axes_[k].size)
            found += place % axes_[k].size * axes_[k].stride;
        return found;
    }

private:
    struct Axis {
        Index size, stride;
    };
    std::ptrdiff_t n_of(bool outer) const {
        return outer ? 0 : static_cast<std::ptrdiff_t>(n_outer_);
    }
    static bool differs(const LossData& loss, std::size_t axis) {
        for (const auto& [name, value] : loss.values) {
            const bool own = std::visit(
                [axis](const auto& content) {
                    if constexpr (has_strides<decltype(content)>) {
                        return axis < content.strides.size() && content.strides[axis] != 0;
                    } else {
                        return false;
                    }
                },
                value);
            if (own) return true;
        }
        return false;
    }
    template <class Content>
    struct Strided : std::false_type {};
    template <class Number>
    struct Strided<RunArray<Number>> : std::true_type {};
    template <class Content>
    static constexpr bool has_strides =
        Strided<std::remove_cv_t<std::remove_reference_t<Content>>>::value;

    std::vector<Axis> axes_;
    std::size_t n_outer_ = 0;
};

}  // namespace linnet
