// What the models are: their sizes against published ones, their names, their types, and what they refuse.

#include <numeric>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "../texts.hpp"
#include "shardlab/base/errors.hpp"
#include "small.hpp"

namespace shardlab {
namespace {

int64_t ParametersOf(const LayerSequence& sequence) {
  const std::vector<int64_t> counts = CountParameters(sequence);
  return std::accumulate(counts.begin(), counts.end(), int64_t{0});
}

ModelOptions ImageNet() {
  ModelOptions options;
  options.side = 224;
  options.classes = 1000;
  options.device = at::kMeta;
  return options;
}

#define EXPECT_SAYS(message, part) EXPECT_NE((message).find(part), std::string::npos) << (message)

TEST(Sizes, OfResNetsAreThoseOfTorchvision) {
  EXPECT_EQ(ParametersOf(MakeSequence("resnet18", ImageNet())), 11689512);
  EXPECT_EQ(ParametersOf(MakeSequence("resnet50", ImageNet())), 25557032);
  EXPECT_EQ(ParametersOf(MakeSequence("resnet101", ImageNet())), 44549160);
  EXPECT_EQ(MakeSequence("resnet101", ImageNet()).size(), 33u + 4u);
}

// torchgpipe's table (81.5M, 319.0M, 542.7M, 1.06B, 1.84B), the numbers of GPipe's table 1 within rounding.
TEST(Sizes, OfAmoebaNetsAreThoseOfTorchgpipe) {
  EXPECT_NEAR(static_cast<double>(ParametersOf(MakeSequence("amoebanet-18-208", ImageNet()))), 81.5e6, 0.05e6);
  EXPECT_NEAR(static_cast<double>(ParametersOf(MakeSequence("amoebanet-18-416", ImageNet()))), 319.0e6, 0.05e6);
  EXPECT_NEAR(static_cast<double>(ParametersOf(MakeSequence("amoebanet-18-544", ImageNet()))), 542.7e6, 0.05e6);
  EXPECT_NEAR(static_cast<double>(ParametersOf(MakeSequence("amoebanet-36-544", ImageNet()))), 1.06e9, 0.005e9);
  EXPECT_NEAR(static_cast<double>(ParametersOf(MakeSequence("amoebanet-72-512", ImageNet()))), 1.84e9, 0.005e9);
  EXPECT_EQ(MakeSequence("amoebanet-18-416", ImageNet()).size(), 24u) << "torchgpipe's balance of one stage";
}

TEST(Sizes, OfUNetsAreThoseOfTorchgpipe) {
  ModelOptions options = ImageNet();
  options.side = 192;
  options.classes = 1;
  EXPECT_NEAR(static_cast<double>(ParametersOf(MakeSequence("unet-6-72", options))), 362.2e6, 0.05e6);
  EXPECT_NEAR(static_cast<double>(ParametersOf(MakeSequence("unet-11-128", options))), 2.21e9, 0.005e9);
  EXPECT_NEAR(static_cast<double>(ParametersOf(MakeSequence("unet-24-128", options))), 4.99e9, 0.005e9);
  EXPECT_NEAR(static_cast<double>(ParametersOf(MakeSequence("unet-48-160", options))), 15.82e9, 0.005e9);
}

TEST(Sizes, OfTransformersAreThoseOfViT) {
  TransformerOptions base;
  base.depth = 12;
  base.width = 768;
  base.heads = 12;
  EXPECT_EQ(ParametersOf(VisionTransformer(ImageNet(), base)), 86567656);  // ViT-B/16
  TransformerOptions tiny = base;
  tiny.width = 192;
  tiny.heads = 3;
  EXPECT_EQ(ParametersOf(VisionTransformer(ImageNet(), tiny)), 5717416);  // ViT-Ti/16
}

TEST(Sequences, GiveLogitsForSmallAndForLargeImages) {
  const at::NoGradGuard no_grad;
  for (const int64_t side : {32, 64}) {
    for (const SmallModel& model : SmallModels(side)) {
      SequenceClassifier classifier(model.sequence);
      classifier.eval();
      const at::Tensor logits_BK = classifier.forward(Images(2, side));
      EXPECT_EQ(logits_BK.sizes(), (std::vector<int64_t>{2, 3})) << model.name << " at " << side;
      EXPECT_TRUE(at::isfinite(logits_BK).all().item<bool>()) << model.name << " at " << side;
    }
  }
}

TEST(Sequences, OfTheSmallModelsAreTheseModels) {
  const ModelOptions options = OptionsOfSide(16);
  for (const std::string& name : ModelNames()) {
    const auto model = MakeModel(name, options);
    SequenceClassifier sequence(MakeSequence(name, options));
    const auto expected = model->named_parameters();
    const auto got = sequence.named_parameters();
    ASSERT_EQ(got.size(), expected.size()) << name;
    for (const auto& parameter : expected) {
      ASSERT_NE(got.find(parameter.key()), nullptr) << name << " " << parameter.key();
      EXPECT_TRUE(at::equal(got[parameter.key()], parameter.value())) << name << " " << parameter.key();
    }
    EXPECT_EQ(sequence.named_buffers().keys(), model->named_buffers().keys()) << name;
    const at::Tensor x = Images(3, 16);
    EXPECT_TRUE(at::allclose(sequence.forward(x), model->forward(x), 1e-12, 1e-14)) << name;
  }
}

TEST(Sequences, NameTheirParametersAsTorchvisionDoes) {
  ModelOptions options = OptionsOfSide(32);
  SequenceClassifier model(ResNet(options, 50, 2));
  const auto parameters = model.named_parameters();
  for (const char* name : {"conv1.weight", "bn1.bias", "layer1.0.conv3.weight", "layer1.0.downsample.0.weight",
                           "layer4.2.bn3.weight", "fc.bias"}) {
    EXPECT_NE(parameters.find(name), nullptr) << name;
  }
  EXPECT_NE(model.named_buffers().find("layer2.0.downsample.1.running_var"), nullptr);
}

TEST(Sequences, AreDrawnFromTheSeedAndTheNameAlone) {
  const LayerSequence sequence = MakeSequence("resnet18", OptionsOfSide(32));
  SequenceClassifier whole(sequence);
  const auto alone = sequence[3].make();
  const auto again = sequence[3].make();
  for (const auto& parameter : alone->named_parameters()) {
    const at::Tensor in_whole = whole.named_parameters()[sequence[3].name + "." + parameter.key()];
    EXPECT_TRUE(at::equal(parameter.value(), in_whole)) << parameter.key();
    EXPECT_FALSE(parameter.value().is_alias_of(again->named_parameters()[parameter.key()]));
  }
  ModelOptions other = OptionsOfSide(32);
  other.seed += 1;
  EXPECT_FALSE(at::equal(MakeSequence("resnet18", other)[3].make()->parameters()[0], alone->parameters()[0]));
  EXPECT_TRUE(
      at::allclose(alone->parameters()[0], SeededLayerWeights({64, 64, 3, 3}, 7, sequence[3].name + ".conv1").weight));
}

TEST(Sequences, KeepCountersWhole) {
  for (const SmallModel& model : SmallModels(32)) {
    for (const LayerSpec& spec : model.sequence) {
      const auto layer = spec.make();
      for (const auto& parameter : layer->parameters()) EXPECT_EQ(parameter.scalar_type(), at::kDouble) << spec.name;
      for (const auto& buffer : layer->named_buffers()) {
        const bool counter = buffer.key().find("num_batches_tracked") != std::string::npos;
        EXPECT_EQ(buffer.value().scalar_type(), counter ? at::kLong : at::kDouble) << spec.name << " " << buffer.key();
      }
    }
  }
}

TEST(ConvertFloatingPoint, LeavesIntegersAlone) {
  torch::nn::BatchNorm2d norm(2);
  ConvertFloatingPoint(*norm, at::kDouble);
  EXPECT_EQ(norm->weight.scalar_type(), at::kDouble);
  EXPECT_EQ(norm->running_var.scalar_type(), at::kDouble);
  EXPECT_EQ(norm->num_batches_tracked.scalar_type(), at::kLong);
  norm->forward(at::ones({2, 2, 1, 1}, at::kDouble));
  EXPECT_EQ(norm->num_batches_tracked.item<int64_t>(), 1);
  EXPECT_THROW(ConvertFloatingPoint(*norm, at::kLong), ContractError);
  const auto model = MakeModel("cnn-bn", OptionsOfSide(16));
  EXPECT_EQ(model->named_buffers()["bn1.num_batches_tracked"].scalar_type(), at::kLong);
}

TEST(Sequences, RefuseWhatCannotBeMade) {
  const ModelOptions options = OptionsOfSide(32);
  EXPECT_SAYS(MessageOf<UsageError>([&] { MakeSequence("resnet19", options); }), "did you mean 'resnet18'");
  EXPECT_SAYS(MessageOf<UsageError>([&] { MakeSequence("unet-4", options); }), "unet-B-C, for example unet-1-8");
  EXPECT_SAYS(MessageOf<UsageError>([&] { MakeSequence("amoebanet-3-x", options); }), "amoebanet-L-F");
  EXPECT_SAYS(MessageOf<ContractError>([&] { MakeSequence("amoebanet-4-16", options); }), "a multiple of 3, not 4");
  EXPECT_SAYS(MessageOf<ContractError>([&] { MakeSequence("amoebanet-3-12", options); }), "divides its filters by 8");
  EXPECT_SAYS(MessageOf<ContractError>([&] { MakeSequence("transformer-2-66", options); }), "4 heads cannot share");
  EXPECT_SAYS(MessageOf<ContractError>([&] { MakeSequence("amoebanet", OptionsOfSide(72)); }), "divide its side 72");
  EXPECT_SAYS(MessageOf<ContractError>([&] { MakeSequence("transformer", OptionsOfSide(30)); }), "do not fill");
  EXPECT_SAYS(MessageOf<ContractError>([&] { MakeSequence("cnn", OptionsOfSide(30)); }), "4 divides, not 30");
  EXPECT_SAYS(MessageOf<ContractError>([&] { UNet(options); }), "a side of 64 or more, not 32");
  EXPECT_SAYS(MessageOf<ContractError>([&] { ResNet(options, 34); }), "18, 50 or 101 layers, not 34");
}

TEST(Sequences, SayWhichStageHasATensor) {
  LayerSequence sequence = MakeSequence("cnn-bn", OptionsOfSide(32));  // conv1 bn1 conv2 bn2 fc1 fc2
  EXPECT_EQ(StageOf(sequence, {1, 2, 3}, "conv1.weight"), 0);
  EXPECT_EQ(StageOf(sequence, {1, 2, 3}, "bn1.running_mean"), 1);
  EXPECT_EQ(StageOf(sequence, {1, 2, 3}, "fc1.bias"), 2);
  EXPECT_SAYS(MessageOf<ContractError>([&] { StageOf(sequence, {1, 2}, "fc1.bias"); }), "no layer of these 2 stages");
  EXPECT_SAYS(MessageOf<ContractError>([&] { StageOf(sequence, {6}, "conv.weight"); }), "'conv.weight'");
  sequence.erase(sequence.begin() + 1, sequence.end() - 1);
  sequence[0].joins = {"conv1", "bn1", "conv2", "bn2", "fc1"};
  EXPECT_EQ(StageOf(sequence, {1, 1}, "fc1.bias"), 0);
  EXPECT_EQ(StageOf(sequence, {1, 1}, "fc2.bias"), 1);
  EXPECT_EQ(NameInModel(sequence[0], "fc1.bias"), "fc1.bias");
  EXPECT_EQ(NameInModel(sequence[1], "bias"), "fc2.bias");
}

TEST(Sequences, CheckTheirSkips) {
  const ModelOptions options = OptionsOfSide(32);
  UNetOptions unet;
  unet.depth = 1;
  unet.convs = 1;
  const LayerSequence good = UNet(options, unet);
  EXPECT_NO_THROW(RequireRunnable(good));
  const auto broken = [&](const auto& change) {
    LayerSequence sequence = good;
    change(sequence);
    return MessageOf<ContractError>([&] { RequireRunnable(sequence); });
  };
  EXPECT_SAYS(broken([](auto& s) { s[0].stashes.clear(); }),
              "layer 'up0' pops the skip 'skip0', which no layer before");
  EXPECT_SAYS(broken([](auto& s) { s[3].pops.clear(); }), "'skip0' is stashed and never popped");
  EXPECT_SAYS(broken([](auto& s) { s[1].stashes = {"skip0"}; }), "which was stashed before");
  EXPECT_SAYS(broken([](auto& s) { s[4].pops = {"skip0"}; }), "which was popped before");
  EXPECT_SAYS(broken([](auto& s) { s[1].name = s[0].name; }), "two layers are called 'encode0.0'");
  EXPECT_SAYS(broken([](auto& s) { s.clear(); }), "at least 1 layer");
}

}  // namespace
}  // namespace shardlab
