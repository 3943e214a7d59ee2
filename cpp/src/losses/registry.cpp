#include "losses/registry.hpp"

#include <stdexcept>
#include <utility>

namespace linnet {

template <class... List>
template <class V>
std::unique_ptr<LossEngine<V>> LossList<List...>::engine(const LossData& data, const Draws* draws,
                                                         int n_slots) {
    using Make = std::unique_ptr<LossEngine<V>> (*)(const LossData&, const Draws*, int);
    static constexpr Make makes[] = {List::template engine<V>...};
    return makes[data.kind](data, draws, n_slots);
}

template <class V>
using MadeEngine = std::unique_ptr<LossEngine<V>>;
using DoubleLanes = Pack<double, native_lanes<double>>;
using FloatLanes = Pack<float, native_lanes<float>>;
template MadeEngine<double> Losses::engine<double>(const LossData&, const Draws*, int);
template MadeEngine<float> Losses::engine<float>(const LossData&, const Draws*, int);
template MadeEngine<DoubleLanes> Losses::engine<DoubleLanes>(const LossData&, const Draws*, int);
template MadeEngine<FloatLanes> Losses::engine<FloatLanes>(const LossData&, const Draws*, int);

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
