#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "shardlab/cifar/dataset.hpp"

/// \file
/// CIFAR's binary files (https://www.cs.toronto.edu/~kriz/cifar.html). No LibTorch.
///
/// A file is a row of records without anything between them:
///
///     CIFAR-10    | label | 1024 red | 1024 green | 1024 blue |            3073 bytes, planes row by row
///     CIFAR-100   | coarse | fine | 1024 red | 1024 green | 1024 blue |   3074 bytes

namespace shardlab::cifar {

/// One file of a data set.
struct FileLayout {
  std::string name;      ///< Without a folder, "test_batch.bin".
  int64_t records = 0;   ///< How many it must have; 0 accepts any number above 0.
  bool is_test = false;  ///< Whether its images are tested on rather than trained on.
  /// The first labels of the published file (fine ones), as far as they are known: enough to say that a file is another
  /// one, not that it is the same.
  std::vector<uint8_t> first_labels = {};
};

/// What a data set looks like on disk and where it comes from.
struct Layout {
  std::string id;                           ///< What commands call it: cifar10, cifar100, synthetic.
  std::string title;                        ///< What sentences call it: CIFAR-10.
  std::string folder;                       ///< The folder that holds its files, also inside the archive.
  std::vector<FileLayout> files;            ///< In the order in which they are read.
  int64_t label_bytes = 1;                  ///< 1, or 2 with a coarse label before the fine one.
  std::vector<std::string> classes;         ///< What labels mean.
  std::vector<std::string> coarse_classes;  ///< What coarse labels mean; empty with label_bytes 1.
  std::string archive;                      ///< Name of the published archive; empty where none is published.
  std::string url;                          ///< Where it is published.
  std::string md5;                          ///< Published digest of the archive, lower-case hexadecimal.
  int64_t archive_bytes = 0;                ///< About its size.

  /// Bytes of one record.
  int64_t record_bytes() const { return label_bytes + kImageBytes; }
};

/// CIFAR-10: five training files and one test file of 10,000 records, in cifar-10-batches-bin.
const Layout& Cifar10();

/// CIFAR-100: train.bin with 50,000 records and test.bin with 10,000, in cifar-100-binary.
const Layout& Cifar100();

/// A synthetic set, as `lab data --synthetic` writes it: the files of CIFAR-10 with fewer records, in
/// synthetic-batches-bin.
const Layout& Synthetic();

/// The layout with this id.
/// \throws UsageError for another name, listing those there are.
const Layout& LayoutNamed(const std::string& id);

/// Which of a data set's files are in `folder` itself or in its sub-folder layout.folder, whichever has more of them.
struct Presence {
  std::string folder;                ///< Where the files are, or would be: layout.folder within the folder asked about.
  std::vector<std::string> present;  ///< Names, in the layout's order.
  std::vector<std::string> missing;  ///< Names, in the layout's order.
};

/// Looks for a data set's files; reads none of them.
/// \param folder the data set's own folder or its parent.
Presence FindFiles(const Layout& layout, const std::string& folder);

/// Reads one file.
/// \param path the file.
/// \throws UsageError when it is missing or unreadable, when it is truncated (a record is cut, or there are fewer than
/// file.records), too long, or when a label is out of range: the message names file, sizes, record and label.
/// EnvironmentError when the disk fails while it is read.
Dataset ReadFile(const Layout& layout, const FileLayout& file, const std::string& path);

/// Reads a whole data set.
/// \param folder the data set's own folder or its parent.
/// \throws UsageError when files are missing, naming them and the command that gets them, or as ReadFile does.
DataSplits Read(const Layout& layout, const std::string& folder);

/// Writes a data set in the binary layout to `folder`/layout.folder, which is made if need be; the training images are
/// divided among the training files by SplitRange. Each file is written beside its place and then moved there, so a
/// file that is there is whole.
/// \return the folder written.
/// \throws EnvironmentError when a folder or file cannot be written, naming it and the reason (a full disk, no
/// permission); ContractError for images whose number or labels do not fit the layout.
std::string Write(const Layout& layout, const DataSplits& data, const std::string& folder);

/// The data set a command asked for: "cifar10" and "cifar100" are read from `folder`, "synthetic" is made on the spot,
/// and "auto" is CIFAR-10 where all its files are, otherwise synthetic.
/// \throws UsageError for another name, or as Read does.
DataSplits Load(const std::string& id, const std::string& folder);

}  // namespace shardlab::cifar
