#include "shardlab/report/files.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <fmt/format.h>

#include "shardlab/base/errors.hpp"

namespace shardlab {
namespace {

namespace fs = std::filesystem;

std::string FolderOf(const std::string& path) {
  const fs::path folder = fs::path(path).parent_path();
  return folder.empty() ? "." : folder.string();
}

[[noreturn]] void Fail(const std::string& path, int error) {
  std::string advice;
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      advice = fmt::format(": the disk of {} is full; free some space", FolderOf(path));
      break;
    case EACCES:
    case EPERM:
      advice = fmt::format(": no permission for {}; choose another folder", FolderOf(path));
      break;
    case EROFS:
      advice = fmt::format(": {} is read-only; choose another folder", FolderOf(path));
      break;
    case ENOENT:
    case ENOTDIR:
      advice = fmt::format(": there is no folder {}", FolderOf(path));
      break;
    default:
      advice = fmt::format(": {}", std::strerror(error));
  }
  throw EnvironmentError(fmt::format("cannot write {}{}", path, advice));
}

/// An open file that closes itself and, if it has a name, removes itself.
struct OpenFile {
  int descriptor = -1;
  std::string temporary;

  ~OpenFile() {
    if (descriptor >= 0) close(descriptor);
    if (!temporary.empty()) unlink(temporary.c_str());
  }
};

void WriteAll(int descriptor, const std::string& text, const std::string& path) {
  size_t at = 0;
  while (at < text.size()) {
    const ssize_t written = write(descriptor, text.data() + at, text.size() - at);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) Fail(path, errno);
    at += static_cast<size_t>(written);
  }
}

bool IsSpecial(const std::string& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode);
}

/// A new file beside `path`, with the permissions that a new file at `path` would get.
OpenFile CreateBeside(const std::string& path) {
  OpenFile file;
  std::string name = path + ".XXXXXX";
  file.descriptor = mkostemp(name.data(), O_CLOEXEC);
  if (file.descriptor < 0) Fail(path, errno);
  file.temporary = name;
  const mode_t mask = umask(0);
  umask(mask);
  fchmod(file.descriptor, 0666 & ~mask);
  return file;
}

}  // namespace

void WriteFileSafely(const std::string& path, const std::string& text, bool durable) {
  if (IsSpecial(path)) {
    OpenFile file;
    file.descriptor = open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (file.descriptor < 0) Fail(path, errno);
    WriteAll(file.descriptor, text, path);
    return;
  }
  OpenFile file = CreateBeside(path);
  WriteAll(file.descriptor, text, path);
  if (durable && fsync(file.descriptor) != 0) Fail(path, errno);
  const int closed = close(file.descriptor);
  file.descriptor = -1;
  if (closed != 0) Fail(path, errno);
  if (rename(file.temporary.c_str(), path.c_str()) != 0) Fail(path, errno);
  file.temporary.clear();
}

void RequireWritable(const std::string& path, const std::string& option) {
  std::error_code error;
  if (path.empty()) throw UsageError(fmt::format("{}: the name of the file is empty", option));
  if (fs::is_directory(path, error)) {
    throw UsageError(fmt::format("{}: {} is a folder; name a file in it", option, path));
  }
  if (!fs::is_directory(FolderOf(path), error)) {
    throw UsageError(fmt::format("{}: there is no folder {}; make it first", option, FolderOf(path)));
  }
  if (IsSpecial(path)) {
    if (access(path.c_str(), W_OK) != 0) Fail(path, errno);
    return;
  }
  CreateBeside(path);
}

void RequireWritableFolder(const std::string& path, const std::string& option) {
  std::error_code error;
  if (path.empty()) throw UsageError(fmt::format("{}: the name of the folder is empty", option));
  if (fs::exists(path, error) && !fs::is_directory(path, error)) {
    throw UsageError(fmt::format("{}: {} is a file; name a folder, which is made if there is none", option, path));
  }
  fs::create_directories(path, error);
  if (error) {
    throw EnvironmentError(fmt::format("{}: cannot make the folder {}: {}", option, path, error.message()));
  }
  CreateBeside((fs::path(path) / "index").string());
}

std::string ReadFile(const std::string& path) {
  std::error_code error;
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  if (file && !fs::is_directory(path, error)) text << file.rdbuf();
  if (!file || file.bad() || fs::is_directory(path, error)) {
    throw EnvironmentError(fmt::format("cannot read {}: {}", path,
                                       fs::is_directory(path, error) ? "it is a folder" : std::strerror(errno)));
  }
  return text.str();
}

}  // namespace shardlab
