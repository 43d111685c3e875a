#include <cstdio>

#include "toy/toy.hpp"

void Bodies() {
  std::printf("left %d right %d neighbours", toy::Left(0, 4), toy::Right(3, 4));
  for (int rank : toy::Neighbours(1, 4)) std::printf(" %d", rank);
  std::printf("\n");
}
