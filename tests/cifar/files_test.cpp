#include "shardlab/cifar/files.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "scratch.hpp"
#include "shardlab/base/errors.hpp"

namespace shardlab::cifar {
namespace {

// The figure in files.hpp: label bytes, then three planes. Pixel p of channel c of record i is (i + 10 c + p) mod 256.
std::string Record(int i, const std::string& labels) {
  std::string bytes = labels;
  for (int c = 0; c < 3; ++c) {
    for (int p = 0; p < 1024; ++p) bytes += static_cast<char>((i + 10 * c + p) % 256);
  }
  return bytes;
}

FileLayout AnyFile(int64_t records = 0) { return {"some.bin", records}; }

TEST(Cifar10File, GivesLabelsAndPlanes) {
  const Scratch scratch;
  const std::string path = scratch.Put("some.bin", Record(0, "\x06") + Record(1, "\x09"));
  const Dataset data = ReadFile(Cifar10(), AnyFile(2), path);
  EXPECT_EQ(data.labels, (std::vector<uint8_t>{6, 9}));
  ASSERT_EQ(data.images.size(), 2u * 3072u);
  EXPECT_EQ(data.image(1)[0], 1);           // red, first row, first column
  EXPECT_EQ(data.image(1)[1024 + 33], 44);  // green, second row, second column: 1 + 10 + 33
  EXPECT_EQ(data.classes[6], "frog");
}

TEST(Cifar100File, HasTheCoarseLabelFirst) {
  const Scratch scratch;
  const std::string path = scratch.Put("some.bin", Record(0, "\x0b\x13") + Record(1, "\x0f\x1d"));
  const Dataset data = ReadFile(Cifar100(), AnyFile(), path);
  EXPECT_EQ(data.coarse_labels, (std::vector<uint8_t>{11, 15}));
  EXPECT_EQ(data.labels, (std::vector<uint8_t>{19, 29}));
  EXPECT_EQ(data.image(0)[0], 0);
  EXPECT_EQ(data.classes.size(), 100u);
  EXPECT_EQ(data.classes[19], "cattle");
  EXPECT_EQ(data.coarse_classes[11], "large_omnivores_and_herbivores");
}

TEST(BadFile, TruncatedInARecordSaysWhere) {
  const Scratch scratch;
  const std::string path = scratch.Put("some.bin", Record(0, "\x06") + Record(1, "\x09").substr(0, 1000));
  const std::string message = MessageOf<UsageError>([&] { ReadFile(Cifar10(), AnyFile(), path); });
  EXPECT_SAYS(message, path + " is truncated: 4073 bytes are 1 records of 3073 bytes and 1000 bytes over");
  EXPECT_SAYS(message, "./lab data cifar10");
}

TEST(BadFile, TruncatedBetweenRecordsIsNoticedToo) {
  const Scratch scratch;
  const std::string path = scratch.Put("some.bin", Record(0, "\x06"));
  const std::string message = MessageOf<UsageError>([&] { ReadFile(Cifar10(), AnyFile(2), path); });
  EXPECT_SAYS(message, "is truncated: it has 3073 bytes, but 2 records of 3073 bytes are 6146");
}

TEST(BadFile, WrongSizeSaysBothSizes) {
  const Scratch scratch;
  const std::string path = scratch.Put("some.bin", Record(0, "\x06") + Record(1, "\x06") + Record(2, "\x06"));
  const std::string message = MessageOf<UsageError>([&] { ReadFile(Cifar10(), AnyFile(2), path); });
  EXPECT_SAYS(message, "has the wrong size: it has 9219 bytes, but 2 records of 3073 bytes are 6146");
}

TEST(BadFile, EmptyIsNamed) {
  const Scratch scratch;
  const std::string path = scratch.Put("some.bin", "");
  EXPECT_SAYS(MessageOf<UsageError>([&] { ReadFile(Cifar10(), AnyFile(), path); }), path + " is empty");
}

TEST(BadFile, LabelOutOfRangeNamesRecordAndLabel) {
  const Scratch scratch;
  const std::string ten = scratch.Put("ten.bin", Record(0, "\x06") + Record(1, "\x0a"));
  EXPECT_SAYS(MessageOf<UsageError>([&] { ReadFile(Cifar10(), AnyFile(), ten); }),
              ten + ": record 1 has the label 10, but those of CIFAR-10 are 0 to 9");
  const std::string coarse = scratch.Put("coarse.bin", Record(0, "\x14\x01"));
  EXPECT_SAYS(MessageOf<UsageError>([&] { ReadFile(Cifar100(), AnyFile(), coarse); }),
              "record 0 has the coarse label 20, but those of CIFAR-100 are 0 to 19");
  const std::string fine = scratch.Put("fine.bin", Record(0, "\x13\x64"));
  EXPECT_SAYS(MessageOf<UsageError>([&] { ReadFile(Cifar100(), AnyFile(), fine); }), "record 0 has the label 100");
}

TEST(BadFile, MissingOrAFolderIsOneSentence) {
  const Scratch scratch;
  EXPECT_SAYS(MessageOf<UsageError>([&] { ReadFile(Cifar10(), AnyFile(), scratch / "none.bin"); }),
              "none.bin cannot be read: No such file or directory");
  EXPECT_SAYS(MessageOf<UsageError>([&] { ReadFile(Cifar10(), AnyFile(), scratch.path()); }),
              "is a folder, not a file");
}

TEST(BadFolder, NamesWhatIsMissingAndHowToGetIt) {
  const Scratch scratch;
  for (const char* name : {"data_batch_1.bin", "data_batch_2.bin", "data_batch_4.bin", "test_batch.bin"}) {
    scratch.Put(std::string("cifar-10-batches-bin/") + name, "");
  }
  const std::string message = MessageOf<UsageError>([&] { Read(Cifar10(), scratch.path()); });
  EXPECT_SAYS(message, "missing are data_batch_3.bin, data_batch_5.bin; get them with `./lab data cifar10`");
  EXPECT_SAYS(message, scratch / "cifar-10-batches-bin");
  EXPECT_SAYS(MessageOf<UsageError>([&] { Read(Cifar100(), scratch.path()); }), "./lab data cifar100");
  EXPECT_SAYS(MessageOf<UsageError>([&] { Load("cifra10", scratch.path()); }), "did you mean 'cifar10'");
}

DataSplits TwentyThree() {
  DataSplits data;
  data.train.name = "train";
  data.test.name = "test";
  for (int i = 0; i < 23; ++i) {
    Dataset& set = i < 21 ? data.train : data.test;
    const std::string pixels = Record(i, "");
    set.images.insert(set.images.end(), pixels.begin(), pixels.end());
    set.labels.push_back(static_cast<uint8_t>(i % 10));
  }
  return data;
}

TEST(Folder, WhatIsWrittenIsReadFromTheFolderAndFromItsParent) {
  const Scratch scratch;
  const DataSplits data = TwentyThree();  // 21 images over 5 files: 5, 4, 4, 4, 4
  const std::string folder = Write(Synthetic(), data, scratch / "new");
  EXPECT_EQ(std::filesystem::file_size(folder + "/data_batch_1.bin"), 5u * 3073u);
  EXPECT_EQ(std::filesystem::file_size(folder + "/data_batch_5.bin"), 4u * 3073u);
  for (const std::string& where : {folder, scratch / "new"}) {
    const DataSplits again = Read(Synthetic(), where);
    EXPECT_EQ(again.train.labels, data.train.labels);
    EXPECT_EQ(again.train.images, data.train.images);
    EXPECT_EQ(again.test.labels, data.test.labels);
    EXPECT_EQ(again.test.images, data.test.images);
  }
}

TEST(Folder, OfCifar100KeepsBothLabels) {
  const Scratch scratch;
  Layout layout = Cifar100();
  for (FileLayout& file : layout.files) file.records = 0;
  DataSplits data = TwentyThree();
  for (Dataset* set : {&data.train, &data.test}) {
    for (const uint8_t label : set->labels) set->coarse_labels.push_back(static_cast<uint8_t>(19 - label));
  }
  Write(layout, data, scratch.path());
  const DataSplits again = Read(layout, scratch.path());
  EXPECT_EQ(again.train.labels, data.train.labels);
  EXPECT_EQ(again.train.coarse_labels, data.train.coarse_labels);
  EXPECT_EQ(again.test.coarse_labels, data.test.coarse_labels);
  EXPECT_EQ(again.train.images, data.train.images);
  data.train.coarse_labels[3] = 20;
  EXPECT_SAYS(MessageOf<ContractError>([&] { Write(layout, data, scratch.path()); }), "has the coarse label 20");
}

TEST(Folder, ThatCannotBeWrittenIsNamed) {
  const Scratch scratch;
  const std::string file = scratch.Put("in-the-way", "");
  EXPECT_SAYS(MessageOf<EnvironmentError>([&] { Write(Synthetic(), TwentyThree(), file); }),
              file + "/synthetic-batches-bin");
}

TEST(Folder, CifarItselfRefusesAnotherNumberOfImages) {
  const Scratch scratch;
  EXPECT_THROW(Write(Cifar10(), TwentyThree(), scratch.path()), ContractError);
}

TEST(Load, AutoTakesCifarWhereItIsWholeAndMakesItsOwnOtherwise) {
  const Scratch scratch;
  EXPECT_EQ(Load("auto", scratch.path()).train.name, "synthetic train");
  std::string records;
  for (int i = 0; i < 10; ++i) records += Record(i, std::string(1, static_cast<char>(i)));
  std::string whole;
  for (int i = 0; i < 1000; ++i) whole += records;
  for (const FileLayout& file : Cifar10().files) scratch.Put("cifar-10-batches-bin/" + file.name, whole);
  const DataSplits data = Load("auto", scratch.path());
  EXPECT_EQ(data.train.name, "cifar10 train");
  EXPECT_EQ(data.train.size(), 50000);
  EXPECT_EQ(data.test.size(), 10000);
}

}  // namespace
}  // namespace shardlab::cifar
