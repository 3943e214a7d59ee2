// Arrays of samples of a loss, as a step of a run sees them: all, or those chosen for it.
#pragma once

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/arena.hpp"
#include "linnet/loss.hpp"
#include "losses/choice.hpp"
#include "losses/sample_kernels.hpp"

namespace linnet {

/// Several arrays (feature, sample) of a loss, in the layout of sample_kernels.hpp, chunk by chunk.
template <class T>
class Readings {
public:
    struct Array {
        const char* name;  ///< of the field; in single precision it is single_name
        Index n_features;
    };
    struct Chunk {
        Index first, n, ld;
        Index n_vectors() const { return (n + native_lanes<T> - 1) / native_lanes<T>; }
    };

    Readings(const LossData& data, const Draws* draws, int n_slots, std::vector<Array> arrays)
        : run_shape_(data.run_shape),
          draws_(draws),
          n_all_(*data.find<Index>("n_samples")),
          choice_(draws, data.run_shape, n_all_, n_slots),
          stride_(data.sample_extent),
          arrays_(std::move(arrays)) {
        Index n_features = 0;
        for (const Array& array : arrays_) {
            const std::string name = array.name;
            if constexpr (std::is_same_v<T, float>) {
                all_.push_back(data.array<float>("single_" + name));
            } else {
                all_.push_back(data.array(name));
            }
            of_slots_.emplace_back(static_cast<std::size_t>(n_slots), nullptr);
            n_features += array.n_features;
        }
        chunk_ = std::clamp<Index>(16384 / n_features / 64 * 64, 64, sample_chunk);
        for (const Array& array : arrays_)
            chosen_.emplace_back(draws == nullptr ? 0 : array.n_features * chunk_);
        for (std::size_t k = 0; k < arrays_.size(); ++k) rows_.push_back(rows_of(k));
    }

    void set_run(int slot, Index run) {
        for (std::size_t k = 0; k < arrays_.size() && run >= 0; ++k)
            of_slots_[k][static_cast<std::size_t>(slot)] = all_[k].at(run, run_shape_);
    }
    Index n_samples(Index step) const { return choice_.size(step); }
    /// do_them(first lane, how many) for the runs of a group of lanes from a slot on: neighbours that see
    /// the same samples in an array together, whatever they see in others. has_run(slot): is there one?
    template <int lanes, class HasRun, class Do>
    void for_each_bunch(int first_slot, std::size_t array, const HasRun& has_run,
                        const Do& do_them) {
        for (int lane = 0, next = 0; lane < lanes; lane = next) {
            int some = -1;  // a run of the bunch
            for (next = lane; next < lanes; ++next) {
                const int slot = first_slot + next;
                if (!has_run(slot)) continue;
                if (some >= 0 && (is_drawn() || all_of(array, slot) != all_of(array, some))) break;
                some = slot;
            }
            if (some < 0) return;
            if (is_drawn()) {
                do_them(some - first_slot, 1);
                continue;
            }
            for (int slot = first_slot + lane; slot < first_slot + next; ++slot) {
                if (!has_run(slot)) copy_run(some, slot);
            }
            do_them(lane, next - lane);
        }
    }
    /// visit(chunk) for the samples of a step of the run in a slot.
    template <class Visit>
    void for_each_chunk(int slot, Index run, Index step, const Visit& visit) {
        const Index n = n_samples(step);
        for (Index first = 0; first < n; first += chunk_) {
            const Chunk chunk{first, std::min(chunk_, n - first), is_drawn() ? chunk_ : stride_};
            if (is_drawn()) copy_chosen(slot, run, step, chunk);
            visit(chunk);
        }
    }
    /// Samples of a chunk; of those that are chosen it is the chunk that was visited last.
    const T* of_chunk(std::size_t array, int slot, const Chunk& chunk) const {
        return is_drawn() ? chosen_[array].data() : all_of(array, slot) + chunk.first;
    }
    /// Those that are chosen, to be changed.
    T* chosen(std::size_t array) { return chosen_[array].data(); }

private:
    bool is_drawn() const { return draws_ != nullptr; }
    /// All samples of a slot's run in an array.
    const T* all_of(std::size_t array, int slot) const {
        return of_slots_[array][static_cast<std::size_t>(slot)];
    }
    /// Let a slot without a run see what another one sees.
    void copy_run(int from, int to) {
        for (auto& slots : of_slots_)
            slots[static_cast<std::size_t>(to)] = slots[static_cast<std::size_t>(from)];
    }
    void copy_chosen(int slot, Index run, Index step, const Chunk& chunk) {
        for (Index at = 0; at < chunk.n_vectors() * native_lanes<T>; at += philox_lanes) {
            Index places[philox_lanes];
            choice_(slot, run, step, chunk.first + at, places);
            for (std::size_t k = 0; k < arrays_.size(); ++k) {
                const T* const from = all_of(k, slot);
                T* const to = chosen_[k].data() + at;
                if constexpr (turns) {
                    if (rows_[k]) {
                        copy_rows(k, places, to);
                        continue;
                    }
                }
                for (Index j = 0; j < arrays_[k].n_features; ++j) {
                    for (int r = 0; r < philox_lanes; ++r)
                        to[j * chunk_ + r] = from[j * stride_ + places[r]];
                }
            }
        }
    }

    /// So many samples are turned at once, of numbers of which a vector has no more than are drawn.
    static constexpr int square = native_lanes<T>;
    static constexpr bool turns = square <= philox_lanes;
    using Square = Pack<T, square>;
    /// Numbers of an array of which each thread has a copy with the features of a sample side by side.
    static constexpr Index most_in_rows = 1 << 20;

    Index row_extent(std::size_t k) const {
        return (arrays_[k].n_features + square - 1) / square * square;
    }
    /// All samples of an array, a row each, filled up by zeros: where few are chosen of it, they come
    /// from few lines of memory. None of what is large, or has few features, or is a run's own.
    std::optional<Arena<T>> rows_of(std::size_t k) const {
        const Index extent = row_extent(k);
        if (!turns || !is_drawn() || !all_[k].shared() || all_[k].data == nullptr ||
            arrays_[k].n_features < square || n_all_ * extent > most_in_rows)
            return std::nullopt;
        Arena<T> rows(n_all_ * extent);  // of zeros
        for (Index j = 0; j < arrays_[k].n_features; ++j) {
            for (Index i = 0; i < n_all_; ++i)
                rows.data()[i * extent + j] = all_[k].data[j * stride_ + i];
        }
        return rows;
    }
    void copy_rows(std::size_t k, const Index (&places)[philox_lanes], T* to) const {
        const Index extent = row_extent(k);
        const Index n_features = arrays_[k].n_features;
        for (int part = 0; part < philox_lanes; part += square) {
            const T* from[square];
            for (int r = 0; r < square; ++r) from[r] = rows_[k]->data() + places[part + r] * extent;
            for (Index j = 0; j < n_features; j += square) {
                Square block[square];
#pragma GCC unroll 8
                for (int r = 0; r < square; ++r) block[r] = load<Square>(from[r] + j);
                transpose_square(block);
                const Index count = std::min<Index>(square, n_features - j);
                if (count == square) {
#pragma GCC unroll 8
                    for (int r = 0; r < square; ++r) store(to + (j + r) * chunk_ + part, block[r]);
                } else {
                    for (Index r = 0; r < count; ++r) store(to + (j + r) * chunk_ + part, block[r]);
                }
            }
        }
    }

    std::vector<Index> run_shape_;
    const Draws* draws_;
    Index n_all_;
    Choice choice_;
    Index stride_, chunk_ = 0;
    std::vector<Array> arrays_;
    std::vector<RunArray<T>> all_;
    std::vector<std::vector<const T*>> of_slots_;
    std::vector<Arena<T>> chosen_;
    std::vector<std::optional<Arena<T>>> rows_;  // of each array
};

/// Samples of a loss on readings are filled up with zeros.
inline void check_padding(const LossData& data) {
    if (data.sample_extent % 16 != 0 || data.sample_extent < *data.find<Index>("n_samples"))
        throw std::invalid_argument("samples must be padded to a multiple of 16");
}

}  // namespace linnet
