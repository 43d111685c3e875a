#!/bin/sh
# What happens to a student's file that cannot be built, on the sample module: module_test.sh SOURCE_FOLDER
set -u
root=$1
. "$root/tests/tooling/check.sh"

cp -R "$root/tests/tooling/sample" "$work/the sample" || exit 1
cd "$work/the sample" || exit 1
mine=exercises/toy error=build/exercises/toy

cmake -S . -B build -G Ninja -DSHARDLAB_CMAKE="$root/cmake" -DSHARDLAB_CORE_INCLUDE="$root/core/include" \
  -DCMAKE_CXX_COMPILER_LAUNCHER="${CMAKE_CXX_COMPILER_LAUNCHER:-}" > configured 2>&1 || { cat configured; exit 1; }

build() { cmake --build build -j 2 > built 2>&1; }
host() { build/bin/host_toy_exercises; }

title 'each flavour runs its own definitions'
expect build
expect_out 'left 3 right 0 neighbours 0 2' build/bin/host_toy_solutions
expect_out 'left -1 right -1 neighbours' build/bin/host_toy_stubs
expect_out 'left -1 right -1 neighbours' host
expect build/bin/referee_toy
expect_out 'half 2' build/bin/host_toy_plain_solutions
expect_out 'half -1' build/bin/host_toy_plain_stubs
expect_out 'half -1' build/bin/host_toy_plain_exercises
expect build/bin/referee_toy_plain

title 'a shared object exports the contract and nothing else'
cp solutions/toy/*.cpp $mine
expect build
for flavour in exercises solutions; do
  nm -D --defined-only -C build/lib/libtoy_$flavour.so | awk '$2 ~ /[TDBR]/ { sub(/^[^ ]* . /, ""); print }' |
    LC_ALL=C sort > exported
  expect_file exported 'toy::Left(int, int)
toy::Neighbours(int, int)
toy::Right(int, int)'
done

nm -D --defined-only -C build/lib/libtoy_plain_exercises.so | awk '$2 ~ /[TDBR]/ { sub(/^[^ ]* . /, ""); print }' > exported
expect_file exported 'toy::Half(int)'

title 'a file of the plain half is built alone'
echo '// saved' >> $mine/half.cpp
expect build
expect grep -q 'libtoy_plain_exercises.so' built
expect_not grep -q 'libtoy_exercises.so' built
expect_not grep -q 'bin/host' built
expect_out 'half 2' build/bin/host_toy_plain_exercises
echo 'int broken() { return "no"; }' >> $mine/half.cpp
expect build
expect_line 1 'exercises/toy/half.cpp does not compile: its stub takes its place.' $error/half.cpp.error.txt
expect_out 'half -1' build/bin/host_toy_plain_exercises
expect_out 'left 3 right 0 neighbours 0 2' host
sed -i 's/return size \/ 2/return Left(size, 2)/' $mine/half.cpp
sed -i '/broken/d' $mine/half.cpp
expect build
expect_line 1 'exercises/toy/half.cpp does not link with the other files: its stub takes its place.' $error/half.cpp.error.txt
cp solutions/toy/half.cpp $mine
expect build
expect_not test -e $error/half.cpp.error.txt
expect_out 'half 2' build/bin/host_toy_plain_exercises

title 'nothing to do when nothing changed'
expect build
expect grep -q 'no work to do' built

title 'a file that does not compile costs itself only'
echo 'int broken() { return "no"; }' >> $mine/left.cpp
expect build
expect_out 'left -1 right 0 neighbours -1 2' host
expect_line 1 'exercises/toy/left.cpp does not compile: its stub takes its place.' $error/left.cpp.error.txt
expect grep -q '^exercises/toy/left.cpp:[0-9]*:[0-9]*: error: ' $error/left.cpp.error.txt
expect_not grep -q 'In file included from' $error/left.cpp.error.txt
expect_not test -e $error/right.cpp.error.txt
expect build
expect grep -q 'no work to do' built

title 'mended, it counts again'
cp solutions/toy/left.cpp $mine
expect build
expect_not test -e $error/left.cpp.error.txt
expect_out 'left 3 right 0 neighbours 0 2' host

title 'a mistake in a header of the student is found and mended there'
sleep 1
echo 'int broken() { return "no"; }' > $mine/helpers.hpp
sed -i '1i #include "helpers.hpp"' $mine/left.cpp
expect build
expect grep -q 'exercises/toy/helpers.hpp:1:' $error/left.cpp.error.txt
sleep 1
echo 'inline int fine() { return 1; }' > $mine/helpers.hpp
expect build
expect_not test -e $error/left.cpp.error.txt
expect_out 'left 3 right 0 neighbours 0 2' host

title 'a header that is not there yet'
rm $mine/helpers.hpp
expect build
expect grep -q 'helpers.hpp: No such file' $error/left.cpp.error.txt
echo > $mine/helpers.hpp
expect build
expect_not test -e $error/left.cpp.error.txt

title 'a contract function that the file no longer defines is named'
sed -i 's/int Right(int rank, int size)/int Right(long rank, int size)/' $mine/right.cpp
expect build
expect grep -q 'exercises/toy/right.cpp does not define toy::Right(int, int), as its contract asks' $error/right.cpp.error.txt
expect_out 'left 3 right -1 neighbours' host
cp solutions/toy/right.cpp $mine

title 'a deleted file breaks neither the build nor configuring'
rm $mine/left.cpp
expect build
expect grep -q '^exercises/toy/left.cpp is missing' $error/left.cpp.error.txt
expect_out 'left -1 right 0 neighbours -1 2' host
expect cmake build > /dev/null
expect build
cp solutions/toy/left.cpp $mine
expect build
expect_not test -e $error/left.cpp.error.txt
expect_out 'left 3 right 0 neighbours 0 2' host

title 'a helper that two files define'
sed -i 's/^namespace toy {/namespace toy {\nint Helper(int x, int) { return x; }/' $mine/right.cpp
expect build
expect_line 1 'exercises/toy/right.cpp does not link with the other files: its stub takes its place.' $error/right.cpp.error.txt
expect grep -q 'toy::Helper(int, int)' $error/right.cpp.error.txt
expect_not grep -qF "$work" $error/right.cpp.error.txt
expect_not test -e $error/left.cpp.error.txt
expect_out 'left 3 right -1 neighbours' host
cp solutions/toy/right.cpp $mine
expect build
expect_not test -e $error/right.cpp.error.txt
expect_out 'left 3 right 0 neighbours 0 2' host

title 'a helper that no file defines'
sed -i 's/^namespace toy {/namespace toy {\nint Nowhere(int);/; s/(rank + 1) % size/Nowhere(rank)/' $mine/right.cpp
expect build
expect grep -q 'toy::Nowhere(int)' $error/right.cpp.error.txt
expect_out 'left 3 right -1 neighbours' host

title 'a file may use a helper of a later file'
cp solutions/toy/*.cpp $mine
sed -i 's/int Helper(int x, int size) {.*/int Helper(int, int);/' $mine/left.cpp
sed -i 's/^namespace toy {/namespace toy {\nint Helper(int x, int size) { return (x + size) % size; }/' $mine/right.cpp
expect build
expect_not test -e $error/left.cpp.error.txt
expect_out 'left 3 right 0 neighbours 0 2' host

title 'a compilation without end is ended, and tried again'
mkfifo $mine/endless.hpp # opening it waits for somebody who writes
sed -i '1i #include "endless.hpp"' $mine/left.cpp
SHARDLAB_COMPILE_SECONDS=1 build
expect_line 1 'exercises/toy/left.cpp was not compiled within 1 s: its stub takes its place.' $error/left.cpp.error.txt
expect_out 'left -1 right 0 neighbours -1 2' host
SHARDLAB_COMPILE_SECONDS=1 build
expect_not grep -q 'no work to do' built
rm $mine/endless.hpp
cp solutions/toy/left.cpp $mine
expect build
expect_not test -e $error/left.cpp.error.txt

title 'without solutions, as a student has it'
rm -rf solutions
cp graders/toy/stubs/*.cpp $mine
expect cmake build > /dev/null
expect build
expect_out 'left -1 right -1 neighbours' host

finish
