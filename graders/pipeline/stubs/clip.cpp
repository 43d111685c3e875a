#include "shardlab/pipeline/clip.hpp"

// TASK pipeline.train: ClipGradients
//
// The contract is the header above. Before you write:
//
//  * What adds up over the ranks, the norms or their squares?
//  * The square of a float32 overflows at 1.8e19. In which type do you add?
//  * A rank without gradients: which calls does it make?
//  * What happens to gradients that are small enough?

#include <ATen/ATen.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {

double ClipGradients(const std::vector<at::Tensor>& gradients, double max_norm, Communicator& comm,
                     const std::vector<double>& counts) {
  (void)gradients, (void)max_norm, (void)comm, (void)counts;
  throw NotImplemented("pipeline.train: ClipGradients (exercises/pipeline/clip.cpp)");
}

}  // namespace shardlab
