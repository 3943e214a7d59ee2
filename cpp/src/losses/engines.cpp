// The engines of losses, for one run and for as many as there are lanes.
#include "losses/samples.hpp"
#include "losses/spherical.hpp"

namespace linnet {

template class SampleEngine<double, false>;
template class SampleEngine<float, false>;
template class SampleEngine<Pack<double, native_lanes<double>>, false>;
template class SampleEngine<Pack<float, native_lanes<float>>, false>;
template class SampleEngine<double, true>;
template class SampleEngine<float, true>;
template class SampleEngine<Pack<double, native_lanes<double>>, true>;
template class SampleEngine<Pack<float, native_lanes<float>>, true>;
template class SphericalEngine<double>;
template class SphericalEngine<float>;
template class SphericalEngine<Pack<double, native_lanes<double>>>;
template class SphericalEngine<Pack<float, native_lanes<float>>>;

}  // namespace linnet
