#include "shardlab/report/progress.hpp"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace shardlab {
namespace {

constexpr auto kRedraw = std::chrono::milliseconds(50);
constexpr auto kLineInterval = std::chrono::seconds(1);
constexpr size_t kBarColumns = 30;

}  // namespace

Progress::Progress(std::string title, int64_t total, std::FILE* stream)
    : Progress(std::move(title), total, stream, Terminal::Of(fileno(stream))) {}

Progress::Progress(std::string title, int64_t total, std::FILE* stream, const Terminal& terminal)
    : title_(std::move(title)),
      total_(total),
      stream_(stream),
      terminal_(terminal),
      start_(Clock::now()),
      last_(start_ - kRedraw) {}

Progress::~Progress() { Hide(); }

void Progress::Update(int64_t done, const std::string& what) {
  done_ = done;
  const auto now = Clock::now();
  const bool finished = total_ > 0 && done_ >= total_;
  if (terminal_.interactive) {
    if (!finished && now - last_ < kRedraw) return;
    what_ = what;
    last_ = now;
    Draw();
    return;
  }
  if (total_ <= 0) return;
  const auto tenths = static_cast<int64_t>(10 * Share() + 1e-9);
  if (tenths <= printed_tenths_ || (!finished && now - last_ < kLineInterval)) return;
  what_ = what;
  last_ = now;
  printed_tenths_ = tenths;
  PrintLine();
}

void Progress::Hide() {
  if (!drawn_) return;
  std::fputs("\r\033[K", stream_);
  std::fflush(stream_);
  drawn_ = false;
}

double Progress::Share() const {
  if (share_) return std::clamp(*share_, 0.0, 1.0);
  return total_ > 0 ? std::clamp(static_cast<double>(done_) / static_cast<double>(total_), 0.0, 1.0) : 0;
}

void Progress::Draw() {
  const auto full = static_cast<size_t>(Share() * kBarColumns + 0.5);
  std::string done, rest;
  for (size_t i = 0; i < kBarColumns; ++i) {
    if (i < full) {
      done += terminal_.unicode ? "━" : "#";
    } else {  // without colour the rest must look different by itself
      rest += terminal_.unicode ? (terminal_.colour ? "━" : "┄") : ".";
    }
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
  const std::string count = total_ > 0 ? fmt::format("{}/{}", done_, total_) : "";
  std::string line = fmt::format("{}  {}{}  {}  {}", title_, Paint(done, Tone::kGood, terminal_),
                                 Paint(rest, Tone::kQuiet, terminal_), count, PrettySeconds(seconds));
  const size_t width = DisplayWidth(line);
  if (!what_.empty() && width + 6 < terminal_.width) {
    line += "  " + Paint(Shorten(what_, terminal_.width - width - 3, terminal_), Tone::kQuiet, terminal_);
  }
  if (DisplayWidth(line) >= terminal_.width) line = fmt::format("{}  {}", Shorten(title_, 20, terminal_), count);
  fmt::print(stream_, "\r\033[K{}", line);
  std::fflush(stream_);
  drawn_ = true;
}

void Progress::PrintLine() {
  const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
  fmt::print(stream_, "{}: {}/{}, {}{}{}\n", title_, done_, total_, PrettySeconds(seconds), what_.empty() ? "" : ", ",
             what_);
  std::fflush(stream_);
}

}  // namespace shardlab
