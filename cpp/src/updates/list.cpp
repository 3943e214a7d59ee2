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

/// Made when the library is loaded: a training must not be the first to ask.
const std::vector<UpdatePolicy> all_policies = described(UpdateList{});

}  // namespace

const std::vector<UpdatePolicy>& update_policies() { return all_policies; }

}  // namespace linnet
