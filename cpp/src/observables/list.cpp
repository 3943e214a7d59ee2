#include "observables/list.hpp"

#include <stdexcept>
#include <string>

#include "linnet/observables.hpp"
#include "observables/measures.hpp"

namespace linnet {

namespace {

template <class Row>
ObservableDeclaration declaration_of(Row /*row*/) {
    static_assert(Row::by_group || !Row::of_loss);
    const auto needs = [](unsigned what) { return (Row::needs & what) != 0; };
    return {Row::name,
            std::is_same_v<Row, observable::Weights> ? nullptr : Row::shape,
            needs(Needs::one_output),
            needs(Needs::direction),
            needs(Needs::dense_layers),
            needs(Needs::margins),
            Row::of_loss};
}

std::vector<ObservableDeclaration> declarations() {
    std::vector<ObservableDeclaration> all;
    observable::All::for_each(
        [&](auto row, std::size_t /*place*/) { all.push_back(declaration_of(row)); });
    return all;
}

}  // namespace

const std::vector<ObservableDeclaration>& observables() {
    static const std::vector<ObservableDeclaration> all = declarations();
    return all;
}

std::size_t observable_of(const std::string& name) {
    const std::vector<ObservableDeclaration>& all = observables();
    for (std::size_t k = 0; k < all.size(); ++k) {
        if (name == all[k].name) return k;
    }
    throw std::invalid_argument("unknown observable '" + name + "'");
}

const std::vector<MeasureDeclaration>& measures() {
    static const std::vector<MeasureDeclaration> all = AllMeasures::declarations();
    return all;
}

std::size_t measure_of(const std::string& name) {
    const std::vector<MeasureDeclaration>& all = measures();
    for (std::size_t k = 0; k < all.size(); ++k) {
        if (name == all[k].name) return k;
    }
    throw std::invalid_argument("unknown measure '" + name + "'");
}

Index size_of(const Measure& one, const Chain& chain) {
    Index size = 1;
    for (const Index extent : measures()[one.kind].shape(chain, one)) size *= extent;
    return size;
}

}  // namespace linnet
