// The entries of a factor, gathered by what they add to.
#pragma once

#include "plan/plan.hpp"

namespace linnet {

/// By row or by column.
Gather gathered(const Factor& factor, bool by_row);

/// By weight: vectors of the side of the rows, and of the columns.
Gather gathered_by_weight(const Factor& factor, Index n_weights);

}  // namespace linnet
