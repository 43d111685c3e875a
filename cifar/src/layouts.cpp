// The published facts of the data sets: https://www.cs.toronto.edu/~kriz/cifar.html
#include <string>
#include <vector>

#include <fmt/format.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/suggest.hpp"
#include "shardlab/cifar/files.hpp"
#include "shardlab/cifar/synthetic.hpp"

namespace shardlab::cifar {
namespace {

Layout MakeCifar10() {
  Layout layout;
  layout.id = "cifar10";
  layout.title = "CIFAR-10";
  layout.folder = "cifar-10-batches-bin";
  layout.files = {{"data_batch_1.bin", 10000, false, {6, 9, 9, 4, 1, 1, 2, 7, 8, 3}},
                  {"data_batch_2.bin", 10000},
                  {"data_batch_3.bin", 10000},
                  {"data_batch_4.bin", 10000},
                  {"data_batch_5.bin", 10000},
                  {"test_batch.bin", 10000, true, {3, 8, 8, 0, 6, 6, 1, 6, 3, 1}}};
  layout.classes = {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"};
  layout.archive = "cifar-10-binary.tar.gz";
  layout.url = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz";
  layout.md5 = "c32a1d4ab5d03f1284b67883e8d87530";
  layout.archive_bytes = 170'000'000;
  return layout;
}

Layout MakeCifar100() {
  Layout layout;
  layout.id = "cifar100";
  layout.title = "CIFAR-100";
  layout.folder = "cifar-100-binary";
  layout.files = {{"train.bin", 50000}, {"test.bin", 10000, true}};
  layout.label_bytes = 2;
  layout.classes = {
      "apple",      "aquarium_fish", "baby",         "bear",       "beaver",      "bed",         "bee",
      "beetle",     "bicycle",       "bottle",       "bowl",       "boy",         "bridge",      "bus",
      "butterfly",  "camel",         "can",          "castle",     "caterpillar", "cattle",      "chair",
      "chimpanzee", "clock",         "cloud",        "cockroach",  "couch",       "crab",        "crocodile",
      "cup",        "dinosaur",      "dolphin",      "elephant",   "flatfish",    "forest",      "fox",
      "girl",       "hamster",       "house",        "kangaroo",   "keyboard",    "lamp",        "lawn_mower",
      "leopard",    "lion",          "lizard",       "lobster",    "man",         "maple_tree",  "motorcycle",
      "mountain",   "mouse",         "mushroom",     "oak_tree",   "orange",      "orchid",      "otter",
      "palm_tree",  "pear",          "pickup_truck", "pine_tree",  "plain",       "plate",       "poppy",
      "porcupine",  "possum",        "rabbit",       "raccoon",    "ray",         "road",        "rocket",
      "rose",       "sea",           "seal",         "shark",      "shrew",       "skunk",       "skyscraper",
      "snail",      "snake",         "spider",       "squirrel",   "streetcar",   "sunflower",   "sweet_pepper",
      "table",      "tank",          "telephone",    "television", "tiger",       "tractor",     "train",
      "trout",      "tulip",         "turtle",       "wardrobe",   "whale",       "willow_tree", "wolf",
      "woman",      "worm"};
  layout.coarse_classes = {"aquatic_mammals",
                           "fish",
                           "flowers",
                           "food_containers",
                           "fruit_and_vegetables",
                           "household_electrical_devices",
                           "household_furniture",
                           "insects",
                           "large_carnivores",
                           "large_man-made_outdoor_things",
                           "large_natural_outdoor_scenes",
                           "large_omnivores_and_herbivores",
                           "medium_mammals",
                           "non-insect_invertebrates",
                           "people",
                           "reptiles",
                           "small_mammals",
                           "trees",
                           "vehicles_1",
                           "vehicles_2"};
  layout.archive = "cifar-100-binary.tar.gz";
  layout.url = "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz";
  layout.md5 = "03b5dce01913d631647c71ecec9e9cb8";
  layout.archive_bytes = 169'000'000;
  return layout;
}

Layout MakeSyntheticLayout() {
  Layout layout;
  layout.id = "synthetic";
  layout.title = "the synthetic set";
  layout.folder = "synthetic-batches-bin";
  for (int i = 1; i <= 5; ++i) layout.files.push_back({fmt::format("data_batch_{}.bin", i)});
  layout.files.push_back({"test_batch.bin", 0, true});
  layout.classes = SyntheticClasses();
  return layout;
}

}  // namespace

const Layout& Cifar10() {
  static const Layout layout = MakeCifar10();
  return layout;
}

const Layout& Cifar100() {
  static const Layout layout = MakeCifar100();
  return layout;
}

const Layout& Synthetic() {
  static const Layout layout = MakeSyntheticLayout();
  return layout;
}

const Layout& LayoutNamed(const std::string& id) {
  std::vector<std::string> ids;
  for (const Layout* layout : {&Cifar10(), &Cifar100(), &Synthetic()}) {
    if (layout->id == id) return *layout;
    ids.push_back(layout->id);
  }
  throw UsageError(UnknownName("data set", id, ids));
}

}  // namespace shardlab::cifar
