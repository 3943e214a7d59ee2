// Which samples of the data a step of a run sees: the one place that decides it.
#pragma once

#include <algorithm>
#include <vector>

#include "base/philox.hpp"
#include "linnet/loss.hpp"

namespace linnet {

/// The random numbers of a step of a run.
inline PhiloxKey key_of(const Draws& draws, const std::vector<Index>& run_shape, Index run,
                        Index step) {
    PhiloxKey key;
    key.seed = draws.seed;
    key.step = static_cast<std::uint64_t>(step);
    key.stream = static_cast<std::uint32_t>(*draws.stream.at(run, run_shape));
    return key;
}

/// Places among n_samples of the samples first, first + 1, ... of a step: drawn with replacement,
/// all with the same probability. Sample i has the Philox block i.
inline void choose(const PhiloxKey& key, Index first, Index n_samples,
                   Index (&places)[philox_lanes]) {
    PhiloxWords words[4];
    philox(key, static_cast<std::uint32_t>(first), 1, words);
    const Pack<double, philox_lanes> u = philox_uniform(words[0], words[1]);
    for (int r = 0; r < philox_lanes; ++r)
        places[r] =
            std::min(static_cast<Index>(u[r] * static_cast<double>(n_samples)), n_samples - 1);
}

}  // namespace linnet
