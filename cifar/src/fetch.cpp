#include "shardlab/cifar/fetch.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <curl/curl.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <system_error>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "shardlab/base/errors.hpp"
#include "shardlab/base/split.hpp"
#include "shardlab/cifar/synthetic.hpp"

namespace shardlab::cifar {
namespace {

namespace fs = std::filesystem;

constexpr size_t kBlock = 1 << 20;

// ---- digests -------------------------------------------------------------------------------------------------------

class Digest {
 public:
  explicit Digest(DigestKind kind) : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    const EVP_MD* algorithm = kind == DigestKind::kMd5 ? EVP_md5() : EVP_sha256();
    if (context_ == nullptr || EVP_DigestInit_ex(context_.get(), algorithm, nullptr) != 1) {
      throw EnvironmentError(
          fmt::format("this machine's OpenSSL refuses {} (FIPS mode?)", kind == DigestKind::kMd5 ? "MD5" : "SHA-256"));
    }
  }

  void Add(const void* data, size_t size) { EVP_DigestUpdate(context_.get(), data, size); }

  std::string Hex() {
    std::array<unsigned char, EVP_MAX_MD_SIZE> bytes;
    unsigned int size = 0;
    EVP_DigestFinal_ex(context_.get(), bytes.data(), &size);
    std::string hex;
    for (unsigned int i = 0; i < size; ++i) hex += fmt::format("{:02x}", bytes[i]);
    return hex;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context_;
};

// ---- files that appear only when whole
// -------------------------------------------------------------------------------

class PartFile {
 public:
  explicit PartFile(fs::path path) : path_(std::move(path)), part_(path_.string() + ".part") {
    std::error_code error;
    if (path_.has_parent_path()) fs::create_directories(path_.parent_path(), error);
    if (error) {
      throw EnvironmentError(
          fmt::format("the folder {} cannot be made: {}", path_.parent_path().string(), error.message()));
    }
    file_ = std::fopen(part_.c_str(), "wb");
    if (file_ == nullptr) throw Failure(errno);
  }

  ~PartFile() {
    if (file_ != nullptr) std::fclose(file_);
    std::error_code ignored;
    fs::remove(part_, ignored);
  }

  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;

  // Whether all of it could be written; error() says why not.
  bool Write(const void* data, size_t size) {
    if (std::fwrite(data, 1, size, file_) == size) return true;
    error_ = errno;
    return false;
  }

  int error() const { return error_; }

  // Moves it to its place.
  void Keep() {
    std::FILE* file = file_;
    file_ = nullptr;
    if (std::fclose(file) != 0) throw Failure(errno);
    std::error_code error;
    fs::rename(part_, path_, error);
    if (error) throw Failure(error.value());
  }

  EnvironmentError Failure(int error) const {
    const std::string folder = path_.has_parent_path() ? path_.parent_path().string() : ".";
    if (error == ENOSPC || error == EDQUOT) {
      return EnvironmentError(fmt::format("the disk is full: {} cannot take {}", folder, path_.filename().string()));
    }
    return EnvironmentError(fmt::format("{} cannot be written in the folder {}: {}", path_.filename().string(), folder,
                                        std::strerror(error)));
  }

 private:
  fs::path path_;
  std::string part_;
  std::FILE* file_ = nullptr;
  int error_ = 0;
};

void CheckRoom(const fs::path& path, int64_t bytes) {
  if (bytes <= 0) return;
  fs::path folder = fs::absolute(path).parent_path();
  std::error_code error;
  while (!fs::exists(folder, error) && folder.has_parent_path() && folder != folder.parent_path()) {
    folder = folder.parent_path();
  }
  const fs::space_info space = fs::space(folder, error);
  if (!error && space.available < static_cast<uintmax_t>(bytes)) {
    throw EnvironmentError(fmt::format("the disk of {} has room for {} MB, but {} MB are needed", folder.string(),
                                       space.available / 1'000'000, bytes / 1'000'000));
  }
}

// ---- download
// --------------------------------------------------------------------------------------------------------

struct Transfer {
  PartFile* file = nullptr;
  const Progress* progress = nullptr;
  bool stopped = false;
};

size_t OnData(char* data, size_t size, size_t count, void* transfer) {
  return static_cast<Transfer*>(transfer)->file->Write(data, size * count) ? size * count : 0;
}

int OnProgress(void* user, curl_off_t total, curl_off_t done, curl_off_t, curl_off_t) {
  auto* transfer = static_cast<Transfer*>(user);
  if (*transfer->progress && !(*transfer->progress)(done, total)) transfer->stopped = true;
  return transfer->stopped ? 1 : 0;
}

std::string WhyNot(CURLcode code, long status, const char* detail) {
  switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
      return "the name cannot be resolved: is there a network?";
    case CURLE_COULDNT_CONNECT:
      return "no connection: is there a network?";
    case CURLE_OPERATION_TIMEDOUT:
      return "nothing arrived for too long";
    case CURLE_HTTP_RETURNED_ERROR:
      return fmt::format("the server answered {}", status);
    case CURLE_PARTIAL_FILE:
      return "the connection broke before the end";
    default:
      return detail[0] != '\0' ? detail : curl_easy_strerror(code);
  }
}

// ---- the record
// ------------------------------------------------------------------------------------------------------

std::map<std::string, std::string> ReadRecord(const fs::path& path) {
  std::map<std::string, std::string> digests;
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string digest, name;
    if (words >> digest >> name && digest.size() == 64) digests[name] = digest;
  }
  return digests;
}

void WriteRecord(const std::string& folder, const std::vector<std::pair<std::string, std::string>>& digests) {
  PartFile file(fs::path(folder) / kRecordName);
  for (const auto& [name, digest] : digests) {
    const std::string line = fmt::format("{}  {}\n", digest, name);
    if (!file.Write(line.data(), line.size())) throw file.Failure(file.error());
  }
  file.Keep();
}

// Whether the file begins with the labels that its published namesake begins with.
bool BeginsAsPublished(const Layout& layout, const FileLayout& file, const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  for (size_t i = 0; i < file.first_labels.size(); ++i) {
    stream.seekg(static_cast<std::streamoff>(static_cast<int64_t>(i) * layout.record_bytes() + layout.label_bytes - 1));
    if (stream.get() != file.first_labels[i]) return false;
  }
  return true;
}

// The digests that a file of the default synthetic set would have, by name.
std::map<std::string, std::string> SyntheticDigests(const Layout& layout) {
  const DataSplits data = MakeSynthetic();
  int64_t train_files = 0;
  for (const FileLayout& file : layout.files) train_files += file.is_test ? 0 : 1;
  std::map<std::string, std::string> digests;
  int64_t train_file = 0;
  for (const FileLayout& file : layout.files) {
    const Dataset& set = file.is_test ? data.test : data.train;
    const Range range = file.is_test ? Range{0, set.size()} : SplitRange(set.size(), train_files, train_file++);
    Digest digest(DigestKind::kSha256);
    for (int64_t i = range.begin; i < range.end; ++i) {
      digest.Add(&set.labels[static_cast<size_t>(i)], 1);
      digest.Add(set.image(i), kImageBytes);
    }
    digests[file.name] = digest.Hex();
  }
  return digests;
}

struct CloseArchive {
  void operator()(archive* reader) const { archive_read_free(reader); }
};

// Copies the current entry to `path`, or only reads it where `path` is empty, and gives its SHA-256.
std::string CopyEntry(archive* reader, const std::string& archive_path, const fs::path& path) {
  std::unique_ptr<PartFile> file;
  if (!path.empty()) file = std::make_unique<PartFile>(path);
  Digest digest(DigestKind::kSha256);
  std::vector<char> block(kBlock);
  while (true) {
    const la_ssize_t n = archive_read_data(reader, block.data(), block.size());
    if (n < 0) {
      throw UsageError(fmt::format("{} is damaged: {}; delete it and download it again", archive_path,
                                   archive_error_string(reader)));
    }
    if (n == 0) break;
    digest.Add(block.data(), static_cast<size_t>(n));
    if (file != nullptr && !file->Write(block.data(), static_cast<size_t>(n))) throw file->Failure(file->error());
  }
  if (file != nullptr) file->Keep();
  return digest.Hex();
}

}  // namespace

std::string FileDigest(const std::string& path, DigestKind kind) {
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), std::fclose);
  if (file == nullptr) throw UsageError(fmt::format("{} cannot be read: {}", path, std::strerror(errno)));
  Digest digest(kind);
  std::vector<char> block(kBlock);
  while (const size_t n = std::fread(block.data(), 1, block.size(), file.get())) digest.Add(block.data(), n);
  if (std::ferror(file.get()) != 0) {
    throw EnvironmentError(fmt::format("{} failed while it was read: {}", path, std::strerror(errno)));
  }
  return digest.Hex();
}

void Download(const DownloadOptions& options) {
  CheckRoom(options.path, options.expected_bytes);
  PartFile file(options.path);
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  const std::unique_ptr<CURL, void (*)(CURL*)> curl(curl_easy_init(), curl_easy_cleanup);
  if (ready != CURLE_OK || curl == nullptr) throw EnvironmentError("libcurl cannot be started");

  Transfer transfer{&file, &options.progress};
  std::array<char, CURL_ERROR_SIZE> detail{};
  const auto set = [&](auto option, auto value) {
    const CURLcode code = curl_easy_setopt(curl.get(), option, value);
    if (code != CURLE_OK) throw EnvironmentError(fmt::format("libcurl: {}", curl_easy_strerror(code)));
  };
  set(CURLOPT_URL, options.url.c_str());
  set(CURLOPT_ERRORBUFFER, detail.data());
  set(CURLOPT_WRITEFUNCTION, OnData);
  set(CURLOPT_WRITEDATA, &transfer);
  set(CURLOPT_XFERINFOFUNCTION, OnProgress);
  set(CURLOPT_XFERINFODATA, &transfer);
  set(CURLOPT_NOPROGRESS, 0L);
  set(CURLOPT_FAILONERROR, 1L);
  set(CURLOPT_FOLLOWLOCATION, 1L);
  set(CURLOPT_MAXREDIRS, 5L);
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_PROTOCOLS_STR, "https,http,file");
  set(CURLOPT_REDIR_PROTOCOLS_STR, "https,http");
  set(CURLOPT_CONNECTTIMEOUT, static_cast<long>(options.connect_seconds));
  set(CURLOPT_LOW_SPEED_LIMIT, 1L);
  set(CURLOPT_LOW_SPEED_TIME, static_cast<long>(options.stall_seconds));
  set(CURLOPT_TIMEOUT, static_cast<long>(options.total_seconds));

  const CURLcode code = curl_easy_perform(curl.get());
  if (file.error() != 0) throw file.Failure(file.error());
  if (transfer.stopped) throw EnvironmentError(fmt::format("the download of {} was stopped", options.url));
  if (code != CURLE_OK) {
    long status = 0;
    curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
    throw EnvironmentError(
        fmt::format("{} cannot be downloaded: {}", options.url, WhyNot(code, status, detail.data())));
  }
  file.Keep();
}

std::vector<std::pair<std::string, std::string>> Extract(const Layout& layout, const std::string& archive_path,
                                                         const std::string& folder, const Progress& progress) {
  const std::unique_ptr<archive, CloseArchive> reader(archive_read_new());
  archive_read_support_filter_gzip(reader.get());
  archive_read_support_format_tar(reader.get());
  if (archive_read_open_filename(reader.get(), archive_path.c_str(), kBlock) != ARCHIVE_OK) {
    throw UsageError(fmt::format("{} is no archive: {}", archive_path, archive_error_string(reader.get())));
  }
  std::error_code ignored;
  const auto total = static_cast<int64_t>(fs::file_size(archive_path, ignored));
  std::map<std::string, std::string> digests;
  archive_entry* entry = nullptr;
  while (true) {
    const int status = archive_read_next_header(reader.get(), &entry);
    if (status == ARCHIVE_EOF) break;
    if (status != ARCHIVE_OK && status != ARCHIVE_WARN) {
      throw UsageError(fmt::format("{} is damaged: {}; delete it and download it again", archive_path,
                                   archive_error_string(reader.get())));
    }
    if (progress && !progress(archive_filter_bytes(reader.get(), -1), total)) {
      throw EnvironmentError(fmt::format("unpacking {} was stopped", archive_path));
    }
    // The names that are looked for are the only ones ever written to: nothing of the entry's own path is used.
    const char* path = archive_entry_pathname(entry);
    if (path == nullptr || archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry) != nullptr)
      continue;
    const auto file = std::find_if(layout.files.begin(), layout.files.end(), [&](const FileLayout& candidate) {
      return path == layout.folder + "/" + candidate.name || path == "./" + layout.folder + "/" + candidate.name;
    });
    if (file == layout.files.end() || digests.count(file->name) != 0) continue;
    if (file->records > 0 && archive_entry_size(entry) != file->records * layout.record_bytes()) {
      throw UsageError(fmt::format("{} in {} has {} bytes, but those of {} have {}", path, archive_path,
                                   archive_entry_size(entry), layout.title, file->records * layout.record_bytes()));
    }
    const fs::path target = fs::path(folder) / layout.folder / file->name;
    digests[file->name] = CopyEntry(reader.get(), archive_path, fs::exists(target, ignored) ? fs::path() : target);
  }
  std::vector<std::pair<std::string, std::string>> result;
  std::vector<std::string> missing;
  for (const FileLayout& file : layout.files) {
    if (digests.count(file.name) == 0) {
      missing.push_back(file.name);
    } else {
      result.emplace_back(file.name, digests[file.name]);
    }
  }
  if (!missing.empty()) {
    throw UsageError(fmt::format("{} lacks {} of {}", archive_path, fmt::join(missing, ", "), layout.title));
  }
  return result;
}

std::vector<FileFinding> Verify(const Layout& layout, const Presence& found) {
  const fs::path folder = found.folder;
  const bool published = !layout.archive.empty();
  const std::map<std::string, std::string> record =
      published ? ReadRecord(folder / kRecordName) : SyntheticDigests(layout);
  std::vector<FileFinding> findings;
  for (const FileLayout& file : layout.files) {
    if (std::find(found.present.begin(), found.present.end(), file.name) == found.present.end()) continue;
    FileFinding finding;
    finding.name = file.name;
    const auto expected = record.find(file.name);
    if (expected != record.end()) {
      const bool same = FileDigest((folder / file.name).string(), DigestKind::kSha256) == expected->second;
      finding.kind = same ? FileFinding::Kind::kPublished : FileFinding::Kind::kDifferent;
      if (!same) {
        finding.reason = published ? "differs from the file of the published archive"
                                   : "differs from the default that this program makes";
      }
    } else if (!BeginsAsPublished(layout, file, folder / file.name)) {
      finding.kind = FileFinding::Kind::kDifferent;
      finding.reason = "other first labels than the published file";
    } else {
      finding.reason = "not from an archive that was checked here";
    }
    findings.push_back(finding);
  }
  return findings;
}

std::string Fetch(const Layout& layout, const std::string& folder, const std::string& url, const Progress& progress,
                  const std::function<void(const std::string&)>& say) {
  if (layout.archive.empty()) {
    throw UsageError(fmt::format("{} is published nowhere: write it with `./lab data --synthetic`", layout.title));
  }
  const fs::path archive = fs::path(folder) / layout.archive;
  std::error_code ignored;
  const bool was_there = fs::exists(archive, ignored);
  if (was_there) {
    say(fmt::format("using {}", archive.string()));
  } else {
    DownloadOptions options;
    options.url = url.empty() ? layout.url : url;
    options.path = archive.string();
    // The archive, and beside it the files it unpacks to.
    options.expected_bytes = url.empty() ? layout.archive_bytes : 0;
    for (const FileLayout& file : layout.files) options.expected_bytes += file.records * layout.record_bytes();
    options.progress = progress;
    say(fmt::format("downloading {}", options.url));
    try {
      Download(options);
    } catch (const EnvironmentError& error) {
      throw EnvironmentError(fmt::format("{}. Without a network: put {} into {}, or use the synthetic set",
                                         error.what(), layout.archive, folder));
    }
  }
  const std::string digest = FileDigest(archive.string(), DigestKind::kMd5);
  const bool published = digest == layout.md5;
  if (!published) {
    say(fmt::format("WARNING: {} is not the published archive: its MD5 is {}, the published one {}", archive.string(),
                    digest, layout.md5));
  }
  const auto digests = Extract(layout, archive.string(), folder, progress);
  const std::string target = (fs::path(folder) / layout.folder).string();
  if (published) WriteRecord(target, digests);
  // What somebody else put there is theirs; what was downloaded for this is needed no more.
  if (!was_there) fs::remove(archive, ignored);
  return target;
}

}  // namespace shardlab::cifar
