#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "shardlab/layers/layer.hpp"
#include "shardlab/models/classifiers.hpp"

/// \file
/// Models as sequences of layers that can be cut between any two (shardlab/layers/layer.hpp): the ones that pipelines
/// were measured with in the literature, and the small ones of classifiers.hpp.
///
/// All of them map images [B, C, H, W] to logits [B, K]. Images with a side of 64 and more go through the stem that was
/// published for ImageNet; smaller ones, CIFAR's, through one that keeps their size. Weights are drawn from the seed
/// and the parameter's name alone, so each rank makes exactly those of its own layers.
///
/// Parameters for images of 224 x 224 and 1000 classes (counted in the tests; published in the sources below):
///
///     resnet18     11,689,512      amoebanet-18-208     81.5 M       transformer (16 x 16 patches)
///     resnet50     25,557,032      amoebanet-18-416    319.0 M         depth 12, width 192      5,717,416
///     resnet101    44,549,160      amoebanet-72-512     1.84 G         depth 12, width 768     86,567,656
///
///     unet, 5 levels, images to masks:   B 6, C 72: 362.2 M    B 11, C 128: 2.21 G    B 48, C 160: 15.82 G

namespace shardlab {

/// A residual network: conv1, bn1, then the blocks "layer1.0", "layer1.1", ... of four groups, avgpool, fc; parameters
/// are named as torchvision's.
/// \param depth 18 (2+2+2+2 blocks of two 3x3 convolutions), 50 (3+4+6+3 bottlenecks) or 101 (3+4+23+3).
/// \param width channels of the first group, 64 in the paper.
/// \throws ContractError for another depth, or sizes below 1.
/// Source: He et al., arXiv 1512.03385; strides in the 3x3 convolution of a bottleneck as torchvision has them. The
/// stem for small images is their section 4.2's: 3x3, stride 1, no pooling.
LayerSequence ResNet(const ModelOptions& options, int depth, int64_t width = 64);

/// AmoebaNet-D (L, F): L normal cells in three groups with a reduction cell between them. A boundary between cells
/// carries two tensors: the cell's output and the output of the one before it.
///
///     stem1 -> stem2, stem3 (reductions; large images only) -> L/3 normal -> reduction -> L/3 normal -> reduction
///           -> L/3 normal -> classify
///
/// \param layers L, a multiple of 3 (the "6" of torchgpipe's first table is a third of it).
/// \param filters F, a multiple of 8: the channels of the first group's cells.
/// \throws ContractError for other numbers, or a side that 4 (small images) or 32 (large ones) does not divide.
/// Source: Real et al., arXiv 1802.01548; the cells' inputs as TensorFlow's implementation and torchgpipe have them,
/// with which the counts of GPipe's table 1 come out. Here "max" pools by the maximum (torchgpipe: by the mean), and
/// the image itself passes no ReLU.
LayerSequence AmoebaNetD(const ModelOptions& options, int layers, int64_t filters);

/// What a U-Net is made of.
struct UNetOptions {
  int depth = 5;              ///< Levels of the encoder; each halves the image.
  int convs = 5;              ///< B: convolutions a level.
  int64_t base = 64;          ///< C: channels of the first level, even; they double with each.
  double dropout = 0.1;       ///< The share of channels that are dropped in training.
  bool per_position = false;  ///< Whether to return [B, K, H, W], a mask an output; else its mean, logits [B, K].
};

/// torchgpipe's simplified U-Net: convolution, dropout of whole channels, instance norm, leaky ReLU. Level i's last
/// convolution stashes its output under "skip<i>", and the decoder of that level pops it: a skip across all that lies
/// between.
///
///     encode0 ------------------------------- skip0 ---> decode0 -> segment
///        encode1 ---------------- skip1 ---> decode1
///           encode2 -- skip2 ---> decode2
///               bottleneck
///
/// \throws ContractError for numbers below 1 or an odd base, a dropout outside 0 <= p < 1, or a side so small that the
/// bottleneck would be a single pixel, whose instance norm is 0.
/// Source: Ronneberger et al., arXiv 1505.04597; torchgpipe, benchmarks/models/unet.
LayerSequence UNet(const ModelOptions& options, const UNetOptions& unet = {});

/// What a Transformer on image patches is made of.
struct TransformerOptions {
  int64_t patch = 0;      ///< Side of a patch; divides the image's. 0: 4 for small images, 16 for large ones.
  int depth = 4;          ///< Blocks, each an attention layer and an MLP layer.
  int64_t width = 64;     ///< Of a token; a multiple of `heads`.
  int64_t heads = 4;      ///< Of attention.
  int64_t mlp_ratio = 4;  ///< Hidden width of the MLP over `width`.
  double dropout = 0.1;   ///< Behind the embedding, each attention and each MLP, in training.
};

/// A vision transformer: patches to tokens, a class token in front, pre-norm blocks, the class token's logits. A block
/// is two layers, "blocks.0.attn" and "blocks.0.mlp".
/// \throws ContractError for sizes below 1 or that do not divide as above, or a dropout outside 0 <= p < 1.
/// Source: Dosovitskiy et al., arXiv 2010.11929.
LayerSequence VisionTransformer(const ModelOptions& options, const TransformerOptions& transformer = {});

/// The models that MakeSequence knows, in the order in which they are listed to people: those of ModelNames(), then
/// resnet18, resnet50, resnet101, amoebanet, unet, transformer.
const std::vector<std::string>& SequenceNames();

/// Makes a model by name. The last three take sizes: amoebanet-L-F (without: 3-16), unet-B-C (1-8, as many levels as
/// the image has room for, 5 at most), transformer-DEPTH-WIDTH (4-64). The small models have the parameters of
/// MakeModel's, by name and value, and give the same logits.
/// \throws UsageError for an unknown name, listing those there are, or sizes that are no numbers; ContractError as the
/// functions above.
LayerSequence MakeSequence(const std::string& name, const ModelOptions& options = {});

/// The numbers of parameters of each layer. It makes them, one layer at a time: with ModelOptions::device kMeta that
/// takes no memory and, for any size of model, milliseconds.
std::vector<int64_t> CountParameters(const LayerSequence& sequence);

/// The stage that has the parameter or buffer `tensor`, when stage s has balance[s] layers of the sequence.
/// \throws ContractError when no layer has a tensor of that name, or the balance ends before it.
int StageOf(const LayerSequence& sequence, const std::vector<int>& balance, const std::string& tensor);

/// Skips on their way, by name.
using Skips = std::map<std::string, at::Tensor>;

/// A whole sequence in one process: what every pipeline is compared with. It runs one layer after the other, keeps
/// skips in a map until they are popped, and knows nothing of stages.
class SequenceClassifier : public ImageClassifier {
 public:
  /// Makes all layers; parameters are called as NameInModel says.
  /// \throws ContractError for an empty sequence, a skip that is popped without having been stashed or stashed twice, or
  /// two layers of one name.
  explicit SequenceClassifier(LayerSequence sequence);

  at::Tensor forward(const at::Tensor& x_BCHW) override;
  void Prepare(const MicroBatch& at) override { at_ = at; }
  /// Of all layers, too.
  void train(bool on = true) override;

  /// Runs layers [begin, end) on the tensors before layer `begin`. \returns the tensors behind layer end-1.
  /// \param skips what is stashed and not yet popped; popped ones are taken out of it, stashed ones put in.
  Tensors Run(size_t begin, size_t end, Tensors x, Skips& skips);

  /// The layers, in order.
  const std::vector<std::shared_ptr<Layer>>& layers() const { return layers_; }

 private:
  LayerSequence sequence_;
  std::vector<std::shared_ptr<Layer>> layers_;
  MicroBatch at_;
};

/// Checks that a sequence can be run: at least one layer, names that differ, and every skip stashed once, by a layer
/// before the one that pops it, and popped once.
/// \throws ContractError that names the layer and the skip.
void RequireRunnable(const LayerSequence& sequence);

}  // namespace shardlab
