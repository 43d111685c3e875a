#include <cstdio>

#include "toy/toy.hpp"

void PlainBodies() { std::printf("half %d\n", toy::Half(4)); }
