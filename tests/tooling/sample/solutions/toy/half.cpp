#include "toy/toy.hpp"

namespace toy {
int Half(int size) { return size / 2; }
}  // namespace toy
