#include "plan/gather.hpp"

namespace linnet {

Gather gathered(const Factor& factor, bool by_row) {
    Gather gather;
    gather.n_targets = by_row ? factor.rows : factor.cols;
    std::vector<std::vector<const Factor::Entry*>> lists(
        static_cast<std::size_t>(gather.n_targets));
    bool all_one = true;
    for (const Factor::Entry& entry : factor.entries) {
        lists[static_cast<std::size_t>(by_row ? entry.row : entry.col)].push_back(&entry);
        all_one = all_one && (entry.weight < 0 || entry.coefficient == 1);
    }
    for (const auto& list : lists) {
        gather.start.push_back(static_cast<std::int32_t>(gather.from.size()));
        gather.fixed_start.push_back(static_cast<std::int32_t>(gather.fixed_from.size()));
        for (const Factor::Entry* entry : list) {
            const std::int32_t from = by_row ? entry->col : entry->row;
            if (entry->weight < 0) {
                gather.fixed_from.push_back(from);
                gather.fixed.push_back(entry->coefficient);
            } else {
                gather.from.push_back(from);
                gather.other.push_back(entry->weight);
                if (!all_one) gather.coefficient.push_back(entry->coefficient);
            }
        }
    }
    gather.start.push_back(static_cast<std::int32_t>(gather.from.size()));
    gather.fixed_start.push_back(static_cast<std::int32_t>(gather.fixed_from.size()));
    return gather;
}

Gather gathered_by_weight(const Factor& factor, Index n_weights) {
    Gather gather;
    gather.n_targets = n_weights;
    std::vector<std::vector<const Factor::Entry*>> lists(static_cast<std::size_t>(n_weights));
    bool all_one = true;
    for (const Factor::Entry& entry : factor.entries) {
        if (entry.weight < 0) continue;
        lists[static_cast<std::size_t>(entry.weight)].push_back(&entry);
        all_one = all_one && entry.coefficient == 1;
    }
    for (const auto& list : lists) {
        gather.start.push_back(static_cast<std::int32_t>(gather.from.size()));
        for (const Factor::Entry* entry : list) {
            gather.from.push_back(entry->row);
            gather.other.push_back(entry->col);
            if (!all_one) gather.coefficient.push_back(entry->coefficient);
        }
    }
    gather.start.push_back(static_cast<std::int32_t>(gather.from.size()));
    return gather;
}

}  // namespace linnet
