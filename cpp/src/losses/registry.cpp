#include "losses/registry.hpp"

#include <stdexcept>
#include <utility>

namespace linnet {

const std::vector<LossDeclaration>& losses() {
    static const std::vector<LossDeclaration> all = Losses::declarations();
    return all;
}

LossData::LossData(const std::string& name, std::vector<Index> the_run_shape, Index n_in,
                   Index n_out)
    : run_shape(std::move(the_run_shape)),
      n_inputs(n_in),
      n_outputs(n_out) {
    std::string known;
    for (const LossDeclaration& loss : losses()) {
        if (name == loss.name) return;
        known += (known.empty() ? "" : ", ") + std::string(loss.name);
        ++kind;
    }
    throw std::invalid_argument("loss must be one of " + known + ", got '" + name + "'");
}

const SphericalTable* LossData::law() const {
    for (const auto& [name, value] : values) {
        if (const auto* const table = std::get_if<SphericalTable>(&value)) return table;
    }
    return nullptr;
}

}  // namespace linnet
