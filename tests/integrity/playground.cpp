#include "playground.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <nlohmann/json.hpp>

namespace fs = std::filesystem;

namespace {

constexpr uint64_t kSeed = 271828182845;
const std::vector<std::string> kFiles = {"build/referee", "graders/rubric.toml", ".lab/progress.json", "home/.profile"};

}  // namespace

Playground::Playground() {
  char name[] = "/tmp/shardlab-integrity-XXXXXX";
  folder_ = mkdtemp(name);
  // Whoever may not enter is kept out by the sandbox and not by a temporary folder's habits.
  fs::permissions(folder_, fs::perms(0755));
  fs::create_directories(folder_ + "/tmp");
  fs::permissions(folder_ + "/tmp", fs::perms(01777));
  for (const std::string& file : kFiles) {
    fs::create_directories(fs::path(folder_ + "/" + file).parent_path());
    std::ofstream(folder_ + "/" + file) << "untouched";
  }
  std::ofstream(folder_ + "/solution.cpp") << "the solution";
  fs::permissions(folder_ + "/solution.cpp", fs::perms(0600));
  setenv("TMPDIR", (folder_ + "/tmp").c_str(), 1);

  server_.Reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  bind(server_.get(), reinterpret_cast<sockaddr*>(&address), length);
  listen(server_.get(), 8);
  getsockname(server_.get(), reinterpret_cast<sockaddr*>(&address), &length);
  port_ = ntohs(address.sin_port);
  Tell();
}

Playground::~Playground() {
  unsetenv("TMPDIR");
  unsetenv("SHARDLAB_TEST_TARGETS");
  std::error_code error;
  fs::remove_all(folder_, error);
}

void Playground::Tell() const {
  nlohmann::json files = nlohmann::json::array();
  for (const std::string& file : kFiles) files.push_back(folder_ + "/" + file);
  const nlohmann::json targets = {{"files", files},
                                  {"secrets", {folder_ + "/solution.cpp", SHARDLAB_TEST_REFEREE}},
                                  {"port", port_},
                                  {"seed", std::to_string(kSeed)},
                                  {"fill_bytes", fill_bytes_},
                                  {"hog_bytes", hog_bytes_}};
  setenv("SHARDLAB_TEST_TARGETS", targets.dump().c_str(), 1);
}

void Playground::Allow(int64_t fill_bytes, int64_t hog_bytes) {
  fill_bytes_ = fill_bytes;
  hog_bytes_ = hog_bytes;
  Tell();
}

shardlab::grade::SessionOptions Playground::Options(const std::vector<std::string>& parts) const {
  shardlab::grade::SessionOptions options;
  options.module = "integrity";
  options.programs = {{SHARDLAB_TEST_HOST, SHARDLAB_TEST_REFEREE}};
  options.seed = kSeed;
  for (const std::string& part : parts) options.parts.push_back("integrity." + part);
  return options;
}

std::string Playground::HostCalled(const std::string& name) const {
  const std::string path = folder_ + "/" + name;
  std::error_code error;
  fs::create_symlink(SHARDLAB_TEST_HOST, path, error);
  return path;
}

bool Playground::FilesAreUntouched() const {
  for (const std::string& file : kFiles) {
    std::ifstream in(folder_ + "/" + file);
    if (std::string(std::istreambuf_iterator<char>(in), {}) != "untouched") return false;
  }
  return true;
}

std::vector<std::string> Playground::Leftovers() const {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder_ + "/tmp")) names.push_back(entry.path().filename());
  return names;
}
