// The work of `lab data`: what is there, download, verify, write the synthetic default.
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>

#include "shardlab/base/errors.hpp"
#include "shardlab/cifar/fetch.hpp"
#include "shardlab/cifar/files.hpp"
#include "shardlab/cifar/synthetic.hpp"

namespace shardlab::cifar {
namespace {

volatile std::sig_atomic_t interrupted = 0;

struct Arguments {
  std::vector<std::string> names;
  std::string folder = "data";
  std::string url;
  bool synthetic = false;
};

// Ctrl-C during a download ends it through its progress callback, so that no half file is left.
class StopBySignal {
 public:
  StopBySignal() {
    for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, [](int) { interrupted = 1; });
  }
  ~StopBySignal() {
    for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, SIG_DFL);
  }
  StopBySignal(const StopBySignal&) = delete;
  StopBySignal& operator=(const StopBySignal&) = delete;
};

// A bar that redraws itself on a terminal, a line every tenth elsewhere.
class ProgressLine {
 public:
  bool Update(int64_t done, int64_t total) {
    if (total > 0) {
      const int percent = static_cast<int>(100 * done / total);
      const int step = terminal_ ? 1 : 10;
      if (percent / step != shown_ / step || shown_ < 0) {
        shown_ = percent;
        if (terminal_) {
          fmt::print(stderr, "\r[{:<40}] {:3d} %  {} of {} MB",
                     std::string(static_cast<size_t>(percent * 40 / 100), '#'), percent, done / 1'000'000,
                     total / 1'000'000);
        } else {
          fmt::print(stderr, "{} % ({} of {} MB)\n", percent, done / 1'000'000, total / 1'000'000);
        }
        std::fflush(stderr);
      }
    }
    return interrupted == 0;
  }

  void EndLine() {
    if (terminal_ && shown_ >= 0) fmt::print(stderr, "\n");
    shown_ = -1;
  }

 private:
  const bool terminal_ = isatty(STDERR_FILENO) == 1;
  int shown_ = -1;
};

// The files in doubt, those with the same reason together; empty where there are none.
std::string Doubts(const std::vector<FileFinding>& findings) {
  std::vector<std::pair<std::string, std::vector<std::string>>> by_reason;
  for (const FileFinding& finding : findings) {
    if (finding.kind == FileFinding::Kind::kPublished) continue;
    const auto same = std::find_if(by_reason.begin(), by_reason.end(),
                                   [&](const auto& group) { return group.first == finding.reason; });
    if (same == by_reason.end()) {
      by_reason.push_back({finding.reason, {finding.name}});
    } else {
      same->second.push_back(finding.name);
    }
  }
  std::vector<std::string> groups;
  for (const auto& [reason, names] : by_reason)
    groups.push_back(fmt::format("{} ({})", fmt::join(names, ", "), reason));
  return fmt::format("{}", fmt::join(groups, "; "));
}

// Reads a set that is there and says what it is; throws what Read throws.
void Describe(const Layout& layout, const Arguments& arguments) {
  const DataSplits data = Read(layout, arguments.folder);
  const Presence found = FindFiles(layout, arguments.folder);
  fmt::print("{:<10} {}: {} images to train on, {} to test, {} classes\n", layout.id, found.folder, data.train.size(),
             data.test.size(), layout.classes.size());
  const std::string doubts = Doubts(Verify(layout, found));
  std::fflush(stdout);
  if (!doubts.empty()) {
    fmt::print(stderr, "WARNING: not known to be the {} files of {}: {}. They are used as they are.\n",
               layout.archive.empty() ? "default" : "published", layout.title, doubts);
  } else {
    fmt::print("{:<10} the files are the {} ones (SHA-256)\n", "", layout.archive.empty() ? "default" : "published");
  }
}

void Get(const Layout& layout, const Arguments& arguments) {
  if (FindFiles(layout, arguments.folder).missing.empty()) return;
  if (layout.archive.empty()) {
    fmt::print("wrote {}\n", Write(layout, MakeSynthetic(), arguments.folder));
    return;
  }
  // Asked for by its own name, a data set's folder is made anew beside its siblings, not inside itself.
  std::filesystem::path folder = std::filesystem::path(arguments.folder).lexically_normal();
  if (!folder.has_filename()) folder = folder.parent_path();
  if (folder.filename() == layout.folder) folder = folder.has_parent_path() ? folder.parent_path() : ".";

  const StopBySignal stop_by_signal;
  ProgressLine line;
  const auto progress = [&](int64_t done, int64_t total) { return line.Update(done, total); };
  const auto say = [&](const std::string& sentence) {
    line.EndLine();
    fmt::print(stderr, "{}\n", sentence);
  };
  try {
    Fetch(layout, folder.string(), arguments.url, progress, say);
  } catch (...) {
    line.EndLine();
    throw;
  }
  line.EndLine();
}

void ListAll(const Arguments& arguments) {
  for (const Layout* layout : {&Cifar10(), &Cifar100(), &Synthetic()}) {
    const Presence found = FindFiles(*layout, arguments.folder);
    if (found.missing.empty()) {
      // One damaged set must not hide the others.
      try {
        Describe(*layout, arguments);
      } catch (const UsageError& error) {
        fmt::print("{:<10} damaged: {}\n", layout->id, error.what());
      }
    } else if (!found.present.empty()) {
      fmt::print("{:<10} incomplete in {}: {} missing; `./lab data {}` gets the rest\n", layout->id, found.folder,
                 fmt::join(found.missing, ", "), layout->id);
    } else if (layout->archive.empty()) {
      fmt::print("{:<10} made when it is needed; `./lab data --synthetic` writes it as files\n", layout->id);
    } else {
      fmt::print("{:<10} not in {}; `./lab data {}` downloads it ({} MB)\n", layout->id, arguments.folder, layout->id,
                 layout->archive_bytes / 1'000'000);
    }
  }
}

void Run(Arguments arguments) {
  if (arguments.synthetic) arguments.names.push_back("synthetic");
  std::vector<const Layout*> layouts;
  for (const std::string& name : arguments.names) layouts.push_back(&LayoutNamed(name));
  if (!arguments.url.empty() && (layouts.size() != 1 || layouts[0]->archive.empty())) {
    throw UsageError("--url needs exactly one published data set, as in `./lab data cifar10 --url FILE_OR_MIRROR`");
  }
  if (layouts.empty()) ListAll(arguments);
  for (const Layout* layout : layouts) {
    Get(*layout, arguments);
    Describe(*layout, arguments);
  }
}

}  // namespace
}  // namespace shardlab::cifar

int main(int argc, char** argv) {
  CLI::App app{"Says which data sets are there; downloads, unpacks and verifies the named ones."};
  shardlab::cifar::Arguments arguments;
  app.add_option("NAME", arguments.names, "cifar10, cifar100 or synthetic; none lists what is there");
  app.add_option("--dir", arguments.folder, "the folder of data sets, or a data set's own")->capture_default_str();
  app.add_flag("--synthetic", arguments.synthetic, "write the synthetic default as files");
  app.add_option("--url", arguments.url, "another place to download from (https, http or file)");
  // Beyond a limit on file sizes, write reports an error that names the file instead of a signal that names nothing.
  std::signal(SIGXFSZ, SIG_IGN);
  try {
    app.parse(argc, argv);
    shardlab::cifar::Run(arguments);
    return 0;
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  } catch (const shardlab::UsageError& error) {
    fmt::print(stderr, "lab data: {}\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    fmt::print(stderr, "lab data: {}\n", error.what());
    return 3;
  }
}
