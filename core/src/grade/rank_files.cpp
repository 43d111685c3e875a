#include "rank_files.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <tuple>

#include <fmt/format.h>

namespace shardlab::grade {

namespace {
constexpr int kPipeBytes = 1 << 20;
}

RankFiles MakeRankFiles(const CaseRequest& request, int rank) {
  const std::string params = request.params.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  RankFiles files;
  std::tie(files.announcements_read, files.announcements_write) = launch::MakePipe(true, kPipeBytes);
  const uint64_t length = params.size();
  std::string input(sizeof length, '\0');
  std::memcpy(input.data(), &length, sizeof length);
  input += params;
  input.resize((input.size() + 7) / 8 * 8);
  if (!request.inputs.empty()) input += request.inputs[static_cast<size_t>(rank)];
  files.input = launch::MakeSealedMemory("shardlab-input", input);
  files.output = launch::MakeSharedMemory("shardlab-output",
                                          static_cast<int64_t>(kOutputHeaderBytes) + request.output_limit_bytes);
  // A page more than is kept shows that there was more; less than a page of sealed memory takes nothing at all.
  files.printed = launch::MakeSharedMemory("shardlab-printed", kRankPrintedLimit + 4096);
  return files;
}

OutputHeader ReadHeader(const RankFiles& files, uint64_t nonce) {
  OutputHeader header;
  if (pread(files.output.get(), &header, sizeof header, 0) != sizeof header || header.nonce != nonce ||
      header.state > static_cast<uint32_t>(RankStage::kTerminated)) {
    return {};
  }
  header.message_length = std::min<uint32_t>(header.message_length, sizeof header.message);
  return header;
}

Frames ReadFrames(const RankFiles& files, const OutputHeader& header, int64_t limit_bytes) {
  if (header.used > static_cast<uint64_t>(limit_bytes)) {
    throw FrameError(fmt::format("{} bytes were announced", header.used));
  }
  // A copy is taken first: nobody can change it between the checks and the use.
  std::string bytes(header.used, '\0');
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t n = pread(files.output.get(), bytes.data() + done, bytes.size() - done,
                            static_cast<off_t>(kOutputHeaderBytes + done));
    if (n <= 0) throw FrameError("it could not be read");
    done += static_cast<size_t>(n);
  }
  return DecodeFrames(bytes.data(), bytes.size());
}

}  // namespace shardlab::grade
