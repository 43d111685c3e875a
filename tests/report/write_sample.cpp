// Writes the page that browser_test.sh looks at: write_sample FILE
#include <cstdio>

#include "sample.hpp"
#include "shardlab/report/files.hpp"

int main(int count, char** arguments) {
  if (count != 2) {
    std::fprintf(stderr, "write_sample FILE\n");
    return 2;
  }
  shardlab::WriteFileSafely(arguments[1], shardlab::ToHtml(shardlab::sample::EverythingReport()));
  return 0;
}
