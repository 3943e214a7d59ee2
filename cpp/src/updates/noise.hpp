// Normal noise on the weights of the runs of a machine.
#pragma once

#include <vector>

#include "base/entries.hpp"
#include "base/philox.hpp"
#include "linnet/chain.hpp"
#include "linnet/update.hpp"

namespace linnet {

/// Adds noise of variance 2 * step size * temperature. Entry i of an array has the Philox block i / 2
/// behind those of the arrays before it, cosines of even entries and sines of odd ones; Own: packs of
/// runs, or plain numbers of a single run.
template <class Own>
class NoiseAdder {
public:
    using T = ScalarOf<Own>;
    static constexpr int lanes = PackTraits<Own>::lanes;

    /// noise must outlive this.
    NoiseAdder(const WeightNoise& noise, const Chain& chain, std::vector<Index> run_shape,
               int n_slots)
        : noise_(noise),
          run_shape_(std::move(run_shape)),
          slots_(static_cast<std::size_t>(n_slots)) {
        Index first = 0;
        for (const Index size : chain.sizes) {
            first_blocks_.push_back(static_cast<std::uint32_t>(first));
            first += (size + 1) / 2;
        }
    }

    /// Which run a slot holds, and how many steps it has taken.
    void set_run(int slot, Index run, Index step) {
        slots_[static_cast<std::size_t>(slot)] = {
            run, step, 2 * *noise_.temperature.at(run, run_shape_),
            static_cast<std::uint32_t>(*noise_.stream.at(run, run_shape_))};
    }
    /// The step of all runs has been taken.
    void advance() {
        for (Slot& slot : slots_) ++slot.step;
    }

    void add(int group, const Places<Own>& weights, int layer, Own step) const {
        using V = Pack<double, philox_lanes>;
        const Index size = weights.rows * weights.cols;
        for (int r = 0; r < lanes; ++r) {
            const Slot& slot = slots_[static_cast<std::size_t>(group * lanes + r)];
            if (slot.run < 0 || slot.twice_temperature == 0) continue;
            const PhiloxKey key{noise_.seed, static_cast<std::uint64_t>(slot.step) | purpose << 62,
                                slot.stream};
            const double variance = slot.twice_temperature * static_cast<double>(get_lane(step, r));
            const V std = broadcast<V>(square_root(variance));
            std::uint32_t block = first_blocks_[static_cast<std::size_t>(layer)];
            Index row = 0;
            Index col = 0;
            for (Index first = 0; first < size; first += 2 * philox_lanes) {
                V cosine;
                V sine;
                const V length = std * normal_pair(key, block, 1, cosine, sine);
                const V pair[2] = {length * cosine, length * sine};
                for (int k = 0; k < 2 * philox_lanes && first + k < size; ++k) {
                    Own& weight = weights(row, col);
                    const double x = static_cast<double>(get_lane(weight, r));
                    set_lane(weight, r, static_cast<T>(x + pair[k % 2][k / 2]));
                    if (++col == weights.cols) {
                        col = 0;
                        ++row;
                    }
                }
                block += philox_lanes;
            }
        }
    }

private:
    /// Besides samples, their order and the noise on their targets.
    static constexpr std::uint64_t purpose = 3;

    struct Slot {
        Index run = -1;
        Index step = 0;
        double twice_temperature = 0;
        std::uint32_t stream = 0;
    };

    const WeightNoise& noise_;
    std::vector<Index> run_shape_;
    std::vector<std::uint32_t> first_blocks_;  // of every array
    std::vector<Slot> slots_;
};

}  // namespace linnet
