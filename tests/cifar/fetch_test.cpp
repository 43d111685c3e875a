#include "shardlab/cifar/fetch.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <thread>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "scratch.hpp"
#include "shardlab/base/errors.hpp"
#include "shardlab/cifar/synthetic.hpp"

namespace shardlab::cifar {
namespace {

namespace fs = std::filesystem;

std::string Contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// ---- a data set of three images, and archives of it
// ------------------------------------------------------------------

std::string Images(int n, char pixel) {
  std::string bytes;
  for (int i = 0; i < n; ++i) bytes += std::string(1, static_cast<char>(i)) + std::string(3072, pixel);
  return bytes;
}

Layout Tiny() {
  Layout layout = Cifar10();
  layout.id = "tiny";
  layout.title = "Tiny";
  layout.folder = "tiny-bin";
  layout.files = {{"train.bin", 2, false, {0, 1}}, {"test.bin", 1, true}};
  layout.archive = "tiny.tar.gz";
  layout.archive_bytes = 0;
  return layout;
}

struct Entry {
  std::string path;
  std::string bytes;
  std::string link = "";
};

void MakeArchive(const std::string& path, const std::vector<Entry>& entries) {
  archive* writer = archive_write_new();
  archive_write_add_filter_gzip(writer);
  archive_write_set_format_pax_restricted(writer);
  ASSERT_EQ(archive_write_open_filename(writer, path.c_str()), ARCHIVE_OK);
  for (const Entry& item : entries) {
    archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname(entry, item.path.c_str());
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_filetype(entry, item.link.empty() ? AE_IFREG : AE_IFLNK);
    if (item.link.empty()) {
      archive_entry_set_size(entry, static_cast<la_int64_t>(item.bytes.size()));
    } else {
      archive_entry_set_symlink(entry, item.link.c_str());
    }
    ASSERT_EQ(archive_write_header(writer, entry), ARCHIVE_OK);
    archive_write_data(writer, item.bytes.data(), item.bytes.size());
    archive_entry_free(entry);
  }
  archive_write_close(writer);
  archive_write_free(writer);
}

std::vector<Entry> GoodEntries() {
  return {
      {"tiny-bin/readme.html", "hello"}, {"tiny-bin/train.bin", Images(2, 'a')}, {"tiny-bin/test.bin", Images(1, 'b')}};
}

std::vector<std::string> FilesBelow(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& item : fs::recursive_directory_iterator(folder)) {
    if (!item.is_directory()) names.push_back(fs::relative(item.path(), folder).string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

using Names = std::vector<std::string>;

// ---- a server on the loopback, one connection at a time
// --------------------------------------------------------------

class Server {
 public:
  // Sends `answer` to every connection; then closes it, or leaves it open without a further byte.
  explicit Server(std::string answer, bool hang = false) : answer_(std::move(answer)), hang_(hang) {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || listen(listener_, 8) != 0) {
      ADD_FAILURE() << "no port on the loopback";
    }
    socklen_t size = sizeof address;
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Serve(); });
  }

  ~Server() {
    stop_ = true;
    thread_.join();
    close(listener_);
  }

  std::string url() const { return fmt::format("http://127.0.0.1:{}/tiny.tar.gz", port_); }

 private:
  void Serve() {
    while (!stop_) {
      pollfd ready{listener_, POLLIN, 0};
      if (poll(&ready, 1, 20) <= 0) continue;
      const int connection = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      char request[4096];
      if (recv(connection, request, sizeof request, 0) > 0) {
        send(connection, answer_.data(), answer_.size(), MSG_NOSIGNAL);
        while (hang_ && !stop_) std::this_thread::sleep_for(std::chrono::milliseconds(20));
      }
      close(connection);
    }
  }

  const std::string answer_;
  const bool hang_;
  int listener_ = -1;
  int port_ = 0;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

std::string Ok(const std::string& body) {
  return fmt::format("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}", body.size(), body);
}

DownloadOptions From(const std::string& url, const std::string& path) {
  DownloadOptions options;
  options.url = url;
  options.path = path;
  options.connect_seconds = 5;
  options.total_seconds = 20;
  return options;
}

// ---- digests
// ---------------------------------------------------------------------------------------------------------

// The test vectors of RFC 1321 and FIPS 180-4.
TEST(FileDigest, IsTheStandardOne) {
  const Scratch scratch;
  const std::string abc = scratch.Put("abc", "abc"), empty = scratch.Put("empty", "");
  EXPECT_EQ(FileDigest(abc, DigestKind::kMd5), "900150983cd24fb0d6963f7d28e17f72");
  EXPECT_EQ(FileDigest(empty, DigestKind::kMd5), "d41d8cd98f00b204e9800998ecf8427e");
  EXPECT_EQ(FileDigest(abc, DigestKind::kSha256), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_THROW(FileDigest(scratch / "none", DigestKind::kMd5), UsageError);
}

// ---- download
// --------------------------------------------------------------------------------------------------------

TEST(Download, BringsTheBytesAndReportsTheEnd) {
  const Scratch scratch;
  const std::string body(300000, 'x');
  const Server server(Ok(body));
  DownloadOptions options = From(server.url(), scratch / "new/folder/file");
  int64_t last = 0, whole = 0;
  options.progress = [&](int64_t done, int64_t total) {
    last = done;
    whole = total;
    return true;
  };
  Download(options);
  EXPECT_EQ(Contents(options.path), body);
  EXPECT_EQ(last, 300000);
  EXPECT_EQ(whole, 300000);
}

TEST(Download, LeavesNothingBehindWhenItFails) {
  const Scratch scratch;
  const auto fails = [&](const std::string& url, const std::string& words, DownloadOptions options) {
    options.url = url;
    EXPECT_SAYS(MessageOf<EnvironmentError>([&] { Download(options); }), words);
    EXPECT_EQ(FilesBelow(scratch.path()), Names{}) << words;
  };
  const DownloadOptions options = From("", scratch / "file");
  {
    const Server server("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\noops");
    fails(server.url(), "the server answered 404", options);
  }
  {
    const Server server("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this");
    fails(server.url(), "broke before the end", options);
  }
  {
    const Server server("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this", /*hang=*/true);
    DownloadOptions impatient = options;
    impatient.total_seconds = 1;
    const auto start = std::chrono::steady_clock::now();
    fails(server.url(), "nothing arrived for too long", impatient);
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(4));
    DownloadOptions stopped = options;
    stopped.progress = [](int64_t, int64_t) { return false; };
    fails(server.url(), "was stopped", stopped);
  }
  std::string nobody;
  {
    const Server server("");
    nobody = server.url();
  }
  fails(nobody, "no connection: is there a network?", options);
  fails("http://name.invalid/file", "is there a network?", options);
  fails("gopher://127.0.0.1/file", "cannot be downloaded", options);
}

TEST(Download, NamesAFolderThatCannotBeWrittenAndAFullDisk) {
  const Scratch scratch;
  const std::string from = "file://" + scratch.Put("source", "x");
  const std::string in_the_way = scratch.Put("in-the-way", "");
  EXPECT_SAYS(MessageOf<EnvironmentError>([&] { Download(From(from, in_the_way + "/file")); }),
              "the folder " + in_the_way + " cannot be made");
  DownloadOptions huge = From(from, scratch / "file");
  huge.expected_bytes = int64_t{1} << 60;
  const std::string message = MessageOf<EnvironmentError>([&] { Download(huge); });
  EXPECT_SAYS(message, "the disk of " + scratch.path() + " has room for");
  EXPECT_SAYS(message, "1152921504606 MB are needed");
}

// ---- unpacking
// -------------------------------------------------------------------------------------------------------

TEST(Extract, TakesTheExpectedFilesAndNothingElse) {
  const Scratch scratch;
  std::vector<Entry> entries = {{"../evil.bin", "x"},
                                {"/tmp/shardlab-evil.bin", "x"},
                                {"tiny-bin/../../test.bin", Images(1, 'e')},
                                {"other/test.bin", Images(1, 'e')},
                                {"tiny-bin/test.bin", "", "/etc/passwd"}};
  for (const Entry& entry : GoodEntries()) entries.push_back(entry);
  fs::create_directory(scratch / "in");
  MakeArchive(scratch / "tiny.tar.gz", entries);
  const auto digests = Extract(Tiny(), scratch / "tiny.tar.gz", scratch / "in");
  EXPECT_EQ(FilesBelow(scratch.path()), (Names{"in/tiny-bin/test.bin", "in/tiny-bin/train.bin", "tiny.tar.gz"}));
  EXPECT_FALSE(fs::exists("/tmp/shardlab-evil.bin"));
  EXPECT_EQ(Contents(scratch / "in/tiny-bin/test.bin"), Images(1, 'b'));
  ASSERT_EQ(digests.size(), 2u);
  EXPECT_EQ(digests[0].first, "train.bin");
  EXPECT_EQ(digests[0].second, FileDigest(scratch / "in/tiny-bin/train.bin", DigestKind::kSha256));
}

TEST(Extract, NeverOverwrites) {
  const Scratch scratch;
  scratch.Put("tiny-bin/test.bin", "mine");
  MakeArchive(scratch / "tiny.tar.gz", GoodEntries());
  const auto digests = Extract(Tiny(), scratch / "tiny.tar.gz", scratch.path());
  EXPECT_EQ(Contents(scratch / "tiny-bin/test.bin"), "mine");
  EXPECT_NE(digests[1].second, FileDigest(scratch / "tiny-bin/test.bin", DigestKind::kSha256));
}

TEST(Extract, SaysWhatIsWrongWithAnArchive) {
  const Scratch scratch;
  const auto says = [&](const std::string& path) {
    return MessageOf<UsageError>([&] { Extract(Tiny(), path, scratch / "in"); });
  };
  EXPECT_SAYS(says(scratch.Put("page.tar.gz", "<html>no such file</html>")), "page.tar.gz");
  std::vector<Entry> entries = GoodEntries();
  entries.pop_back();
  MakeArchive(scratch / "lacking.tar.gz", entries);
  EXPECT_SAYS(says(scratch / "lacking.tar.gz"), "lacks test.bin of Tiny");
  MakeArchive(scratch / "short.tar.gz", {{"tiny-bin/train.bin", Images(1, 'a')}});
  EXPECT_SAYS(says(scratch / "short.tar.gz"), "has 3073 bytes, but those of Tiny have 6146");
  // Bytes that gzip cannot make small, so that half of the archive ends in the middle of a file.
  Layout large = Tiny();
  large.files = {{"train.bin", 200}};
  std::string noise(200, '\0');
  for (const uint8_t byte : MakeSynthetic({200, 1, 1}).train.images) noise += static_cast<char>(byte);
  MakeArchive(scratch / "whole.tar.gz", {{"tiny-bin/train.bin", noise}});
  const std::string whole = Contents(scratch / "whole.tar.gz");
  fs::remove_all(scratch / "in");
  scratch.Put("half.tar.gz", whole.substr(0, whole.size() / 2));
  EXPECT_SAYS(MessageOf<UsageError>([&] { Extract(large, scratch / "half.tar.gz", scratch / "in"); }),
              "half.tar.gz is damaged: truncated gzip input; delete it and download it again");
  EXPECT_FALSE(fs::exists(scratch / "in/tiny-bin/train.bin"));
  EXPECT_FALSE(fs::exists(scratch / "in/tiny-bin/train.bin.part"));
}

// ---- are they the published ones?
// ------------------------------------------------------------------------------------

using Kind = FileFinding::Kind;

std::vector<Kind> Kinds(const Layout& layout, const std::string& folder) {
  std::vector<Kind> kinds;
  for (const FileFinding& finding : Verify(layout, FindFiles(layout, folder))) kinds.push_back(finding.kind);
  return kinds;
}

TEST(Fetch, RecordsThePublishedFilesAndNoticesAChange) {
  const Scratch scratch;
  MakeArchive(scratch / "source.tar.gz", GoodEntries());
  Layout layout = Tiny();
  layout.md5 = FileDigest(scratch / "source.tar.gz", DigestKind::kMd5);
  const Server server(Ok(Contents(scratch / "source.tar.gz")));
  Names said;
  const auto say = [&](const std::string& sentence) { said.push_back(sentence); };
  const std::string folder = Fetch(layout, scratch / "data", server.url(), {}, say);
  EXPECT_EQ(said, Names{"downloading " + server.url()});
  EXPECT_EQ(FilesBelow(scratch / "data"), (Names{"tiny-bin/SHA256SUMS", "tiny-bin/test.bin", "tiny-bin/train.bin"}));
  EXPECT_EQ(Kinds(layout, scratch / "data"), (std::vector<Kind>{Kind::kPublished, Kind::kPublished}));
  EXPECT_EQ(std::system(("cd " + folder + " && sha256sum --check --status SHA256SUMS").c_str()), 0);

  scratch.Put("data/tiny-bin/test.bin", Images(1, 'c'));
  EXPECT_EQ(Kinds(layout, scratch / "data"), (std::vector<Kind>{Kind::kPublished, Kind::kDifferent}));
}

TEST(Fetch, WarnsOfAnotherArchiveAndGoesOn) {
  const Scratch scratch;
  MakeArchive(scratch / "tiny.tar.gz", GoodEntries());  // lies in the folder: nothing is downloaded, nor deleted
  Names said;
  Fetch(Tiny(), scratch.path(), "", {}, [&](const std::string& sentence) { said.push_back(sentence); });
  ASSERT_EQ(said.size(), 2u);
  EXPECT_SAYS(said[1], "WARNING: " + (scratch / "tiny.tar.gz") + " is not the published archive");
  EXPECT_EQ(FilesBelow(scratch.path()), (Names{"tiny-bin/test.bin", "tiny-bin/train.bin", "tiny.tar.gz"}));
  EXPECT_EQ(Kinds(Tiny(), scratch.path()), (std::vector<Kind>{Kind::kUnknown, Kind::kUnknown}));
}

TEST(Verify, KnowsAFileByItsFirstLabels) {
  const Scratch scratch;
  scratch.Put("tiny-bin/train.bin", Images(1, 'a') + Images(1, 'a'));  // labels 0, 0; published 0, 1
  EXPECT_EQ(Kinds(Tiny(), scratch.path()), std::vector<Kind>{Kind::kDifferent});
}

TEST(Verify, KnowsTheSyntheticDefault) {
  const Scratch scratch;
  Write(Synthetic(), MakeSynthetic(), scratch.path());
  EXPECT_EQ(Kinds(Synthetic(), scratch.path()), std::vector<Kind>(6, Kind::kPublished));
  Write(Synthetic(), MakeSynthetic({10000, 2000, 2}), scratch.path());
  EXPECT_EQ(Kinds(Synthetic(), scratch.path()), std::vector<Kind>(6, Kind::kDifferent));
}

// ---- the program
// -----------------------------------------------------------------------------------------------------

struct Outcome {
  int status = -1;
  std::string text;
};

Outcome RunProgram(const std::string& arguments) {
  Outcome outcome;
  std::FILE* pipe = popen(("timeout 30 " SHARDLAB_CIFAR_DATA " " + arguments + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return outcome;
  char block[4096];
  while (const size_t n = std::fread(block, 1, sizeof block, pipe)) outcome.text.append(block, n);
  const int status = pclose(pipe);
  outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return outcome;
}

TEST(Program, ExitsWithWhatHappened) {
  const Scratch scratch;
  const std::string folder = " --dir " + scratch.path();
  const Outcome listed = RunProgram(folder);
  EXPECT_EQ(listed.status, 0);
  EXPECT_SAYS(listed.text, "cifar10    not in " + scratch.path());
  const Outcome unknown = RunProgram("cifar11" + folder);
  EXPECT_EQ(unknown.status, 2);
  EXPECT_SAYS(unknown.text, "did you mean 'cifar10'");
  EXPECT_EQ(RunProgram("--nonsense").status, 2);
  const Outcome nowhere = RunProgram("cifar10 --url file:///no/such/file" + folder);
  EXPECT_EQ(nowhere.status, 3);
  EXPECT_SAYS(nowhere.text, "put cifar-10-binary.tar.gz into " + scratch.path());
  const Outcome written = RunProgram("--synthetic" + folder);
  EXPECT_EQ(written.status, 0);
  EXPECT_SAYS(written.text, "the files are the default ones");
  // Damaged: the sixth file loses its last byte.
  fs::resize_file(scratch / "synthetic-batches-bin/test_batch.bin", 2000 * 3073 - 1);
  const Outcome damaged = RunProgram("synthetic" + folder);
  EXPECT_EQ(damaged.status, 2);
  EXPECT_SAYS(damaged.text, "test_batch.bin is truncated");
  EXPECT_EQ(RunProgram(folder).status, 0);  // a list shows the damage and goes on
}

TEST(Program, NamesTheFileThatAFullDiskCutShort) {
  const Scratch scratch;
  // The shell's limit of 1000 blocks of 1024 bytes a file stands for the full disk.
  std::FILE* pipe = popen(
      ("bash -c 'ulimit -f 1000; " SHARDLAB_CIFAR_DATA " --synthetic --dir " + scratch.path() + "' 2>&1").c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  std::string text;
  char block[4096];
  while (const size_t n = std::fread(block, 1, sizeof block, pipe)) text.append(block, n);
  const int status = pclose(pipe);
  EXPECT_EQ(WEXITSTATUS(status), 3);
  EXPECT_SAYS(text, scratch / "synthetic-batches-bin/data_batch_1.bin cannot be written");
  EXPECT_EQ(FilesBelow(scratch.path()), Names{});
}

}  // namespace
}  // namespace shardlab::cifar
