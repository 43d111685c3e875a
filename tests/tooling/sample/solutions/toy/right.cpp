#include "toy/toy.hpp"

namespace toy {
int Right(int rank, int size) { return (rank + 1) % size; }
std::vector<int> Neighbours(int rank, int size) { return {Left(rank, size), Right(rank, size)}; }
}  // namespace toy
