// What a terminal would obey is written out.

#include "shardlab/base/visible.hpp"

#include <gtest/gtest.h>

namespace {

using shardlab::Visible;

TEST(Visible, TextStaysAsItIs) {
  for (const char* text : {"", "a line\n\tand another\n", "größer als 3 × 4 · ✔ 𝛼", "C:\\x1b"})
    EXPECT_EQ(Visible(text), text);
}

TEST(Visible, WhatATerminalWouldObeyIsWrittenOut) {
  EXPECT_EQ(Visible("\x1b[2J\x07\b\r!"), R"(\x1b[2J\x07\x08\x0d!)");
  EXPECT_EQ(Visible("\x7f \xc2\x9b"
                    "31m"),
            R"(\x7f \x9b31m)");
  EXPECT_EQ(Visible("if (a\xe2\x80\xae b \xe2\x81\xa6)"), R"(if (a\u202e b \u2066))");
  EXPECT_EQ(Visible(std::string("\0", 1)), R"(\x00)");
}

TEST(Visible, BytesThatAreNoLettersAreWrittenOut) {
  EXPECT_EQ(Visible("\xff\xc0\xaf \xe2\x80"), R"(\xff\xc0\xaf \xe2\x80)");
  EXPECT_EQ(Visible(Visible("\xff\x1b")), Visible("\xff\x1b"));
}

TEST(Visible, LinesOfWindowsAreLines) { EXPECT_EQ(Visible("one\r\ntwo\r\n"), "one\ntwo\n"); }

}  // namespace
