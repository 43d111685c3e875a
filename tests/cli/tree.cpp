#include "tree.hpp"

#include <sys/wait.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

using std::filesystem::path;

void Tree::SetUp() {
  const auto* info = testing::UnitTest::GetInstance()->current_test_info();
  root_ = path(testing::TempDir()) / ("lab_" + std::string(info->test_suite_name()) + "_" + info->name());
  std::filesystem::remove_all(root_);
  Write("graders/demo/rubric.toml", R"(
id = "demo"
title = "A demonstration"
[[part]]
id = "first"
title = "The first part"
points = 1
files = ["a.cpp"]
[[part]]
id = "second"
title = "The second part"
points = 1
after = ["first"]
files = ["b.cpp"]
[[part]]
id = "extra"
title = "The extra part"
points = 1
bonus = true
files = ["c.cpp"]
)");
  Write("graders/other/rubric.toml", R"(
id = "other"
title = "Another one"
needs = ["demo"]
[[part]]
id = "only"
title = "The only part"
points = 2
files = ["only.cpp"]
)");
  for (const char* file : {"demo/a.cpp", "demo/b.cpp", "demo/c.cpp", "other/only.cpp"}) {
    const std::string module = path(file).parent_path(), name = path(file).filename();
    Write("graders/" + module + "/stubs/" + name, "// stub of " + name + "\n");
    Write("exercises/" + module + "/" + name, "// stub of " + name + "\n");
  }
  Write("build/CMakeCache.txt", "CMAKE_HOME_DIRECTORY:INTERNAL=" + root_.string() + "\n");
  std::filesystem::create_symlink(SHARDLAB_CMAKE, In("cmake"));
  Script("cmake",
         "echo \"$@\" >> '" + In("built") + "'\necho '[1/2] Building CXX object a.cpp.o'\necho '[2/2] Linking'\n");
  path_before_ = std::getenv("PATH");
  setenv("PATH", (In("tools") + ":" + path_before_).c_str(), 1);
  setenv("LAB_ROOT", root_.c_str(), 1);
  setenv("LAB_BUILD", In("build").c_str(), 1);
  setenv("LAB_JOBS", "1", 1);
  setenv("LC_ALL", "C", 1);
  unsetenv("COLUMNS");
}

void Tree::TearDown() {
  setenv("PATH", path_before_.c_str(), 1);
  std::filesystem::remove_all(root_);
}

Tree::Ended Tree::Lab(const std::string& arguments) {
  const std::string command =
      "'" LAB_PROGRAM "' " + arguments + " </dev/null >'" + In("out") + "' 2>'" + In("err") + "'";
  const int status = std::system(command.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), Read("out"), Read("err")};
}

void Tree::Write(const std::string& name, const std::string& text, bool executable) {
  std::filesystem::create_directories((root_ / name).parent_path());
  std::ofstream(root_ / name) << text;
  if (executable) {
    std::filesystem::permissions(root_ / name, std::filesystem::perms::owner_all, std::filesystem::perm_options::add);
  }
}

std::string Tree::Read(const std::string& name) const {
  std::stringstream text;
  text << std::ifstream(root_ / name).rdbuf();
  return text.str();
}

shardlab::cli::Context Tree::MakeContext() const {
  shardlab::cli::Context context;
  context.root = root_.string();
  context.build = In("build");
  return context;
}
