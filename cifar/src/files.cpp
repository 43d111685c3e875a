#include "shardlab/cifar/files.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <system_error>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/cifar/synthetic.hpp"

namespace shardlab::cifar {
namespace {

namespace fs = std::filesystem;

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

std::string HowToGet(const Layout& layout) {
  return layout.archive.empty() ? "write them with `./lab data --synthetic`"
                                : fmt::format("get them with `./lab data {}`", layout.id);
}

std::vector<uint8_t> ReadBytes(const std::string& path) {
  // A folder opens, and fails only when it is read.
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) throw UsageError(fmt::format("{} is a folder, not a file", path));
  const File file(std::fopen(path.c_str(), "rb"));
  if (file == nullptr) throw UsageError(fmt::format("{} cannot be read: {}", path, std::strerror(errno)));
  std::vector<uint8_t> bytes;
  const auto size = fs::file_size(path, ignored);
  if (!ignored) bytes.reserve(static_cast<size_t>(size));
  std::vector<uint8_t> block(1 << 20);
  while (const size_t n = std::fread(block.data(), 1, block.size(), file.get())) {
    bytes.insert(bytes.end(), block.begin(), block.begin() + static_cast<std::ptrdiff_t>(n));
  }
  if (std::ferror(file.get()) != 0) {
    throw EnvironmentError(fmt::format("{} failed while it was read: {}", path, std::strerror(errno)));
  }
  return bytes;
}

void CheckSize(const Layout& layout, const FileLayout& file, const std::string& path, int64_t bytes) {
  const int64_t record = layout.record_bytes();
  if (file.records > 0 && bytes != file.records * record) {
    throw UsageError(fmt::format("{} {}: it has {} bytes, but {} records of {} bytes are {}; delete it and {}", path,
                                 bytes < file.records * record ? "is truncated" : "has the wrong size", bytes,
                                 file.records, record, file.records * record, HowToGet(layout)));
  }
  if (bytes == 0) throw UsageError(fmt::format("{} is empty; delete it and {}", path, HowToGet(layout)));
  if (bytes % record != 0) {
    throw UsageError(
        fmt::format("{} is truncated: {} bytes are {} records of {} bytes and {} bytes over; delete it and {}", path,
                    bytes, bytes / record, record, bytes % record, HowToGet(layout)));
  }
}

void CheckLabel(const Layout& layout, const std::string& path, int64_t record, uint8_t label,
                const std::vector<std::string>& classes, const char* kind) {
  if (label < classes.size()) return;
  throw UsageError(fmt::format("{}: record {} has the {} {}, but those of {} are 0 to {}: this is no file of {}", path,
                               record, kind, label, layout.title, classes.size() - 1, layout.title));
}

void Append(Dataset& all, Dataset&& part) {
  const auto append = [](std::vector<uint8_t>& to, const std::vector<uint8_t>& from) {
    to.insert(to.end(), from.begin(), from.end());
  };
  append(all.images, part.images);
  append(all.labels, part.labels);
  append(all.coarse_labels, part.coarse_labels);
}

void WriteFile(const Layout& layout, const Dataset& data, Range range, const fs::path& path) {
  const std::string aside = path.string() + ".part";
  const auto fail = [&](int error) -> EnvironmentError {
    std::error_code ignored;
    fs::remove(aside, ignored);
    return EnvironmentError(fmt::format("{} cannot be written: {}", path.string(), std::strerror(error)));
  };
  File file(std::fopen(aside.c_str(), "wb"));
  if (file == nullptr) throw fail(errno);
  for (int64_t i = range.begin; i < range.end; ++i) {
    uint8_t labels[2] = {data.labels[static_cast<size_t>(i)], 0};
    if (layout.label_bytes == 2) {
      labels[1] = labels[0];
      labels[0] = data.coarse_labels[static_cast<size_t>(i)];
    }
    const auto label_bytes = static_cast<size_t>(layout.label_bytes);
    if (std::fwrite(labels, 1, label_bytes, file.get()) != label_bytes ||
        std::fwrite(data.image(i), 1, kImageBytes, file.get()) != static_cast<size_t>(kImageBytes)) {
      throw fail(errno);
    }
  }
  // A full disk may show only here.
  if (std::fclose(file.release()) != 0) throw fail(errno);
  std::error_code error;
  fs::rename(aside, path, error);
  if (error) throw fail(error.value());
}

void CheckFits(const Layout& layout, const Dataset& data, int64_t expected) {
  const bool coarse = layout.label_bytes == 2;
  if (data.size() < 1 || (expected > 0 && data.size() != expected) ||
      static_cast<int64_t>(data.images.size()) != data.size() * kImageBytes ||
      (coarse && data.coarse_labels.size() != data.labels.size())) {
    throw ContractError(
        fmt::format("{} with {} images does not fit the files of {}", data.name, data.size(), layout.title));
  }
  for (const uint8_t label : data.labels) {
    if (label >= layout.classes.size()) {
      throw ContractError(fmt::format("{} has the label {}, which {} has not", data.name, label, layout.title));
    }
  }
  if (!coarse) return;
  for (const uint8_t label : data.coarse_labels) {
    if (label >= layout.coarse_classes.size()) {
      throw ContractError(fmt::format("{} has the coarse label {}, which {} has not", data.name, label, layout.title));
    }
  }
}

}  // namespace

Presence FindFiles(const Layout& layout, const std::string& folder) {
  const auto look = [&](const fs::path& where) {
    Presence found;
    found.folder = where.string();
    for (const FileLayout& file : layout.files) {
      std::error_code ignored;
      (fs::exists(where / file.name, ignored) ? found.present : found.missing).push_back(file.name);
    }
    return found;
  };
  Presence below = look(fs::path(folder) / layout.folder);
  Presence here = look(folder);
  return here.present.size() > below.present.size() ? here : below;
}

Dataset ReadFile(const Layout& layout, const FileLayout& file, const std::string& path) {
  const std::vector<uint8_t> bytes = ReadBytes(path);
  CheckSize(layout, file, path, static_cast<int64_t>(bytes.size()));
  Dataset data;
  data.name = fmt::format("{} {}", layout.id, file.name);
  data.classes = layout.classes;
  data.coarse_classes = layout.coarse_classes;
  const int64_t n = static_cast<int64_t>(bytes.size()) / layout.record_bytes();
  data.labels.reserve(static_cast<size_t>(n));
  data.images.reserve(static_cast<size_t>(n * kImageBytes));
  for (int64_t i = 0; i < n; ++i) {
    const uint8_t* record = bytes.data() + i * layout.record_bytes();
    if (layout.label_bytes == 2) {
      CheckLabel(layout, path, i, *record, layout.coarse_classes, "coarse label");
      data.coarse_labels.push_back(*record++);
    }
    CheckLabel(layout, path, i, *record, layout.classes, "label");
    data.labels.push_back(*record++);
    data.images.insert(data.images.end(), record, record + kImageBytes);
  }
  return data;
}

DataSplits Read(const Layout& layout, const std::string& folder) {
  const Presence found = FindFiles(layout, folder);
  if (!found.missing.empty()) {
    throw UsageError(fmt::format("{} is not whole in {}: missing {} {}; {}", layout.title, found.folder,
                                 found.missing.size() == 1 ? "is" : "are", fmt::join(found.missing, ", "),
                                 HowToGet(layout)));
  }
  DataSplits splits;
  splits.train.name = layout.id + " train";
  splits.test.name = layout.id + " test";
  for (Dataset* data : {&splits.train, &splits.test}) {
    data->classes = layout.classes;
    data->coarse_classes = layout.coarse_classes;
  }
  for (const FileLayout& file : layout.files) {
    const std::string path = (fs::path(found.folder) / file.name).string();
    Append(file.is_test ? splits.test : splits.train, ReadFile(layout, file, path));
  }
  return splits;
}

std::string Write(const Layout& layout, const DataSplits& data, const std::string& folder) {
  int64_t expected_train = 0, expected_test = 0, train_files = 0;
  for (const FileLayout& file : layout.files) {
    (file.is_test ? expected_test : expected_train) += file.records;
    if (!file.is_test) ++train_files;
  }
  CheckFits(layout, data.train, expected_train);
  CheckFits(layout, data.test, expected_test);
  if (data.train.size() < train_files) {
    throw ContractError(fmt::format("{} training images do not fill {} files", data.train.size(), train_files));
  }

  const fs::path target = fs::path(folder) / layout.folder;
  std::error_code error;
  fs::create_directories(target, error);
  if (error) throw EnvironmentError(fmt::format("the folder {} cannot be made: {}", target.string(), error.message()));
  int64_t train_file = 0;
  for (const FileLayout& file : layout.files) {
    if (file.is_test) {
      WriteFile(layout, data.test, {0, data.test.size()}, target / file.name);
    } else {
      WriteFile(layout, data.train, SplitRange(data.train.size(), train_files, train_file++), target / file.name);
    }
  }
  return target.string();
}

DataSplits Load(const std::string& id, const std::string& folder) {
  if (id == "synthetic") return MakeSynthetic();
  if (id == "auto") {
    return FindFiles(Cifar10(), folder).missing.empty() ? Read(Cifar10(), folder) : MakeSynthetic();
  }
  return Read(LayoutNamed(id), folder);
}

}  // namespace shardlab::cifar
