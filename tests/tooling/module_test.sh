#!/bin/sh
# What happens to a student's file that cannot be built, on the sample module: module_test.sh SOURCE_FOLDER [LAB]
# LAB is the program lab, which confines the compiler in a sandboxed run.
set -u
root=$1
lab=${2:-}
. "$root/tests/tooling/check.sh"

cp -R "$root/tests/tooling/sample" "$work/the sample" || exit 1
cd "$work/the sample" || exit 1
mine=exercises/toy error=build/exercises/toy

fast=''
! command -v ld.lld > /dev/null || fast='-DCMAKE_SHARED_LINKER_FLAGS=-fuse-ld=lld -DSHARDLAB_LLD=ld.lld'
# shellcheck disable=SC2086 # two words
cmake -S . -B build -G Ninja $fast -DSHARDLAB_CMAKE="$root/cmake" -DSHARDLAB_CORE_INCLUDE="$root/core/include" \
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

cp solutions/toy/*.cpp $mine
title 'what the compiler says may be the student'"'"'s words'
for words in 'No space left on device' 'invalid-pch' 'Read-only file system' 'Input/output error'; do
  echo "#error $words" >> $mine/left.cpp
  expect build
  expect_line 1 'exercises/toy/left.cpp does not compile: its stub takes its place.' $error/left.cpp.error.txt
  expect_out 'left -1 right 0 neighbours -1 2' host
  cp solutions/toy/left.cpp $mine
done

title 'a disk that is full is nobody'"'"'s mistake, and is noticed'
full=$(dirname "$(find build -path '*toy_exercises.dir*' -name left.cpp.o)")
if unshare -m true 2> /dev/null; then
  echo '// saved' >> $mine/left.cpp
  expect_not unshare -m sh -c "mount -t tmpfs -o size=4k none '$full' && cmake --build build -j 1 > built 2>&1"
  expect grep -q 'No space left on device' built
  expect build
  expect_out 'left 3 right 0 neighbours 0 2' host
fi

title 'a compiler that cannot be started is nobody'"'"'s mistake'
expect_not env PATH=/nowhere "$root/cmake/compile_or_stub" "$PWD/$mine" "$PWD/$error" /dev/null -- /nowhere/g++ \
  -o left.o -c "$PWD/$error/left.cpp" > built 2>&1

title 'a compiler that talks without end is cut short'
seq 20000 | sed 's/.*/#error & says this/' >> $mine/left.cpp
expect build
expect_line 1 'exercises/toy/left.cpp does not compile: its stub takes its place.' $error/left.cpp.error.txt
expect grep -q 'only the first 64 KiB are kept' $error/left.cpp.error.txt
expect test "$(wc -c < $error/left.cpp.error.txt)" -lt 70000
expect test "$(wc -c < built)" -lt 70000

title 'nor does it take all memory, all of the disk, or all of the time'
cp solutions/toy/left.cpp $mine
echo 'template <int n> struct Bomb { Bomb<2 * n> a; Bomb<2 * n + 1> b; }; Bomb<1> bomb;' >> $mine/left.cpp
SHARDLAB_COMPILE_KIB=100000 SHARDLAB_COMPILE_SECONDS=60 build
expect test -e $error/left.cpp.error.txt
cp solutions/toy/left.cpp $mine
echo 'asm(".incbin \"/dev/zero\"");' >> $mine/left.cpp
SHARDLAB_COMPILE_KIB=200000 SHARDLAB_COMPILE_SECONDS=60 build
expect test -e $error/left.cpp.error.txt
cp solutions/toy/left.cpp $mine
echo 'constexpr int Endless() { int n = 0; for (;;) ++n; return n; } static_assert(Endless());' >> $mine/left.cpp
SHARDLAB_COMPILE_SECONDS=60 build
expect test -e $error/left.cpp.error.txt
expect_out 'left -1 right 0 neighbours -1 2' host
cp solutions/toy/left.cpp $mine
expect build

title 'an object does not choose what it is linked with'
if [ -n "$fast" ]; then
  printf '%s\n' 'asm(".section \".deplibs\",\"MS\",%0x6fff4c04,1\n.asciz \"z\"\n.text");' >> $mine/left.cpp
  expect build
  expect_not sh -c 'readelf -d build/lib/libtoy_exercises.so | grep -q "NEEDED.*libz"'
  cp solutions/toy/left.cpp $mine
  expect build
fi

confined() { SHARDLAB_CONFINE=$lab build; }
# Where the kernel can do it: a file that no command line names stays closed.
if [ -n "$lab" ] && ! "$lab" confine --reads= --writes= -- /bin/sh -c ': < CMakeLists.txt' 2> /dev/null; then
  title 'in a sandboxed run a compiler opens no files that it has no business with'
  echo 'the secret' > "$work/secret"
  echo '// saved' >> $mine/left.cpp
  expect confined
  expect_not test -e $error/left.cpp.error.txt
  expect_out 'left 3 right 0 neighbours 0 2' host
  for way in "#include \"$work/secret\"" "asm(\".incbin \\\"$work/secret\\\"\");" '#include "/dev/zero"' \
    '#include "../../solutions/toy/left.cpp"' '#include "/etc/passwd"'; do
    cp solutions/toy/left.cpp $mine
    printf '%s\n' "$way" >> $mine/left.cpp
    expect confined
    expect test -e $error/left.cpp.error.txt
    expect_not grep -q -e 'the secret' -e 'root:' $error/left.cpp.error.txt
    expect_out 'left -1 right 0 neighbours -1 2' host
  done
  cp solutions/toy/left.cpp $mine
  echo 'int Helper2(int x);' > $mine/helpers.hpp
  sed -i '1i #include "helpers.hpp"' $mine/left.cpp
  expect confined
  expect_out 'left 3 right 0 neighbours 0 2' host
  cp solutions/toy/left.cpp $mine
  expect build
fi

title 'without solutions, as a student has it'
rm -rf solutions
cp graders/toy/stubs/*.cpp $mine
expect cmake build > /dev/null
expect build
expect_out 'left -1 right -1 neighbours' host

finish
