// Which samples of the data a step of a run sees: the one place that decides it.
#pragma once

#include <algorithm>
#include <numeric>
#include <vector>

#include "base/philox.hpp"
#include "linnet/loss.hpp"

namespace linnet {

/// What random numbers of a step are for: numbers of steps, and of epochs, stay below 2^62.
/// 3 is taken by the noise on weights, see updates/noise.hpp.
enum class Purpose : std::uint64_t { samples = 0, order = 1, noise = 2 };

/// The random numbers of a step, or of an epoch, of a run.
inline PhiloxKey key_of(const Draws& draws, const std::vector<Index>& run_shape, Index run,
                        Index step, Purpose purpose = Purpose::samples) {
    PhiloxKey key;
    key.seed = draws.seed;
    key.step = static_cast<std::uint64_t>(step) | (static_cast<std::uint64_t>(purpose) << 62);
    key.stream = static_cast<std::uint32_t>(*draws.stream.at(run, run_shape));
    return key;
}

/// Chooses among n_all samples, for the runs in some slots.
class Choice {
public:
    /// draws: null if nothing is chosen; it must outlive this.
    Choice(const Draws* draws, std::vector<Index> run_shape, Index n_all, int n_slots)
        : draws_(draws),
          run_shape_(std::move(run_shape)),
          n_all_(n_all) {
        if (draws == nullptr || draws->replace || draws->sizes.empty()) return;
        orders_.resize(static_cast<std::size_t>(n_slots));
        for (Order& order : orders_) order.places.resize(static_cast<std::size_t>(n_all));
    }

    /// How many samples a step sees.
    Index size(Index step) const { return draws_ == nullptr ? n_all_ : draws_->size(step, n_all_); }

    /// Places of the samples first, first + 1, ... of a step; what is behind the last one is in
    /// range.
    void operator()(int slot, Index run, Index step, Index first, Index (&places)[philox_lanes]) {
        if (draws_->sizes.empty()) {
            for (int r = 0; r < philox_lanes; ++r) places[r] = std::min(first + r, n_all_ - 1);
        } else if (draws_->replace) {
            draw(key_of(*draws_, run_shape_, run, step), first, n_all_, places);
        } else {
            const Draws::Batches& batches = draws_->at(step);
            const Index begin = batches.samples_before + (step - batches.first_step) * batches.size;
            for (int r = 0; r < philox_lanes; ++r) {
                const Index at = begin + std::min(first + r, batches.size - 1);
                places[r] = order(slot, run, at / n_all_)[static_cast<std::size_t>(at % n_all_)];
            }
        }
    }

private:
    /// All samples in the order of an epoch of a run.
    struct Order {
        Index run = -1, epoch = -1;
        std::vector<std::int32_t> places;
    };

    /// With replacement, all with the same probability. Sample i has the Philox block i.
    static void draw(const PhiloxKey& key, Index first, Index n, Index (&places)[philox_lanes]) {
        PhiloxWords words[4];
        philox(key, static_cast<std::uint32_t>(first), 1, words);
        const Pack<double, philox_lanes> u = philox_uniform(words[0], words[1]);
        for (int r = 0; r < philox_lanes; ++r)
            places[r] = std::min(static_cast<Index>(u[r] * static_cast<double>(n)), n - 1);
    }
    /// Shuffled by Fisher and Yates: from the last place on, place i changes with one of 0 ... i, by
    /// the Philox block i.
    const std::vector<std::int32_t>& order(int slot, Index run, Index epoch) {
        Order& own = orders_[static_cast<std::size_t>(slot)];
        if (own.run == run && own.epoch == epoch) return own.places;
        own.run = run;
        own.epoch = epoch;
        std::iota(own.places.begin(), own.places.end(), 0);
        const PhiloxKey key = key_of(*draws_, run_shape_, run, epoch, Purpose::order);
        for (Index block = (n_all_ - 1) / philox_lanes; block >= 0; --block) {
            PhiloxWords words[4];
            philox(key, static_cast<std::uint32_t>(block * philox_lanes), 1, words);
            const Pack<double, philox_lanes> u = philox_uniform(words[0], words[1]);
            for (int r = philox_lanes - 1; r >= 0; --r) {
                const Index i = block * philox_lanes + r;
                if (i >= n_all_) continue;
                const auto other =
                    std::min(static_cast<Index>(u[r] * static_cast<double>(i + 1)), i);
                std::swap(own.places[static_cast<std::size_t>(i)],
                          own.places[static_cast<std::size_t>(other)]);
            }
        }
        return own.places;
    }

    const Draws* draws_;
    std::vector<Index> run_shape_;
    Index n_all_;
    std::vector<Order> orders_;  // per slot, without replacement
};

}  // namespace linnet
