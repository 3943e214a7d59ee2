#include "updates/list.hpp"

#include "linnet/update.hpp"

namespace linnet {

namespace {

template <class... Policies>
std::vector<UpdatePolicy> described(const std::tuple<Policies...>& /*list*/) {
    return {UpdatePolicy{Policies::name,
                         Policies::n_memories,
                         Policies::stores_gradients,
                         {Policies::parameters.begin(), Policies::parameters.end()},
                         {Policies::choices.begin(), Policies::choices.end()}}...};
}

}  // namespace

const std::vector<UpdatePolicy>& update_policies() {
    static const std::vector<UpdatePolicy> all = described(UpdateList{});
    return all;
}

}  // namespace linnet
