// A step up the gradient of the loss, from where the gradient of a step is taken.
#pragma once

#include <algorithm>

#include "base/arena.hpp"
#include "base/entries.hpp"
#include "linnet/index.hpp"

namespace linnet {

/// Of the runs in the slots of a machine: weights go by their radius along the gradient of all
/// arrays, and back. Own: packs of runs, or plain numbers of a single run.
template <class Own>
class Ascent {
public:
    using T = ScalarOf<Own>;
    static constexpr int lanes = PackTraits<Own>::lanes;

    explicit Ascent(int n_slots) : radii_(n_slots / lanes), squares_(n_slots / lanes) {}

    void set(int slot, double radius) {
        set_lane(radii_.data()[slot / lanes], slot % lanes, static_cast<T>(radius));
    }
    /// One array after the other, the first of them number 0.
    void add_square(int group, const Entries<Own>& gradient, int number) {
        Own& total = squares_.data()[group];
        total = (number == 0 ? Own{} : total) + sum_of_squares(gradient);
    }
    /// What the weights were is kept, laid out as they are.
    void climb(int group, const Places<Own>& weights, const Own* gradient, Own* kept) const {
        std::copy_n(weights.data, weights.rows * weights.ld, kept);
        const Own size = square_root(squares_.data()[group]);
        const auto rests = less_equal(size, Own{});
        const Own one = broadcast<Own>(1);
        const Own factor = select(rests, Own{}, radii_.data()[group] / select(rests, one, size));
        for (Index i = 0; i < weights.rows; ++i) {
            for (Index j = 0; j < weights.cols; ++j)
                weights(i, j) = fma(factor, gradient[i * weights.ld + j], weights(i, j));
        }
    }
    static void go_back(const Places<Own>& weights, const Own* kept) {
        std::copy_n(kept, weights.rows * weights.ld, weights.data);
    }

private:
    Arena<Own> radii_, squares_;
};

}  // namespace linnet
