#include "updates/list.hpp"

#include "linnet/update.hpp"

namespace linnet {

namespace {

template <class P>
UpdatePolicy described() {
    UpdatePolicy policy{P::name,
                        P::n_memories,
                        P::stores_gradients,
                        P::n_scratch > 0,
                        {P::parameters.begin(), P::parameters.end()},
                        {P::choices.begin(), P::choices.end()},
                        nullptr};
    if constexpr (P::n_scratch > 0) policy.work = P::work;
    return policy;
}
template <class... Policies>
std::vector<UpdatePolicy> all_described(const std::tuple<Policies...>& /*list*/) {
    return {described<Policies>()...};
}

/// Made when the library is loaded: a training must not be the first to ask.
const std::vector<UpdatePolicy> all_policies = all_described(UpdateList{});

}  // namespace

const std::vector<UpdatePolicy>& update_policies() { return all_policies; }

}  // namespace linnet
