#include "toy/toy.hpp"

namespace toy {
int Helper(int x, int size) { return (x + size) % size; }
int Left(int rank, int size) { return Helper(rank - 1, size); }
}  // namespace toy
