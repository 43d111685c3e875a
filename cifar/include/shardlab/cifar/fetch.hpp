#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "shardlab/cifar/files.hpp"

/// \file
/// How published data sets get onto this machine, and how one knows that they are the published ones. No LibTorch.
///
///     url --1--> cifar-10-binary.tar.gz.part --2--> MD5 --3--> cifar-10-batches-bin/*.bin --4--> SHA256SUMS
///
/// 1 download, 2 compare with the published digest, 3 extract the expected files and nothing else, 4 only if 2 agreed:
/// record what the files of the published archive are, since their own digests are published nowhere.

namespace shardlab::cifar {

/// The digests in use.
enum class DigestKind {
  kMd5,    ///< What the data sets' page publishes; enough against accidents, not against an adversary.
  kSha256  ///< What we record ourselves.
};

/// The digest of a file in lower-case hexadecimal.
/// \throws UsageError when it cannot be opened, EnvironmentError when reading fails.
std::string FileDigest(const std::string& path, DigestKind kind);

/// Reports that `done` of `total` bytes have arrived (total 0: not known); returning false stops the work.
using Progress = std::function<bool(int64_t done, int64_t total)>;

/// What to download and how long to wait. Every wait has a limit.
struct DownloadOptions {
  std::string url;               ///< https, http or file.
  std::string path;              ///< The file to make; it appears only when whole.
  int64_t expected_bytes = 0;    ///< About its size, to look for room on the disk first; 0 for unknown.
  int64_t connect_seconds = 20;  ///< Longest wait for a connection.
  int64_t stall_seconds = 30;    ///< Longest time with less than 1 byte a second.
  int64_t total_seconds = 3600;  ///< Longest time for everything.
  Progress progress;             ///< May be empty.
};

/// Downloads a file to path + ".part" and moves it to its place when it is whole; nothing is left behind otherwise.
/// \throws EnvironmentError: no network, a server that says no, a wait beyond its limit, a full disk, a folder that
/// cannot be written, or stopped by `progress`. The message says which, with the URL or the folder.
void Download(const DownloadOptions& options);

/// Takes a data set's files, and no other, out of its archive into `folder`/layout.folder.
///
/// Only entries that are regular files, are called exactly layout.folder, a slash and an expected name, and have the
/// expected size are taken: a path that leads elsewhere, a link or a device is not. A file that is there is left alone.
/// \return the SHA-256 of every expected file as it is in the archive, by name.
/// \throws UsageError when the archive is damaged or lacks a file, naming it; EnvironmentError when the folder cannot be
/// written, or stopped by `progress`.
std::vector<std::pair<std::string, std::string>> Extract(const Layout& layout, const std::string& archive,
                                                         const std::string& folder, const Progress& progress = {});

/// What is known of one file.
struct FileFinding {
  /// Whether it is the published file.
  enum class Kind {
    kPublished,  ///< As in the archive with the published digest.
    kDifferent,  ///< Certainly another file.
    kUnknown     ///< Nothing to compare with.
  };
  std::string name;            ///< Without a folder.
  Kind kind = Kind::kUnknown;  ///< The finding.
  std::string reason;          ///< In words, for kDifferent and kUnknown.
};

/// Compares the files that are there with the record in their folder (SHA256SUMS); without one, with the first labels
/// that are known of the published files. Synthetic files are compared with the set that this program makes. Cost: one
/// pass over the files.
/// \throws EnvironmentError when a file fails while it is read.
std::vector<FileFinding> Verify(const Layout& layout, const Presence& found);

/// Name of the record, in the form that `sha256sum --check` reads.
inline constexpr const char* kRecordName = "SHA256SUMS";

/// Downloads (unless the archive lies in `folder` already), compares, extracts and records one data set.
/// \param url replaces layout.url where not empty.
/// \param say receives plain sentences: what is being done, and the warning when the archive is not the published one.
/// \return the folder with the files.
/// \throws UsageError for a set that is published nowhere, or as Extract does; EnvironmentError as Download does.
std::string Fetch(const Layout& layout, const std::string& folder, const std::string& url, const Progress& progress,
                  const std::function<void(const std::string&)>& say);

}  // namespace shardlab::cifar
