#!/bin/sh
# What a build leaves behind that was killed, or that a power cut ended: interrupted_test.sh SOURCE_FOLDER
# shellcheck disable=SC3013 # dash has -nt too
set -u
root=$1
. "$root/tests/tooling/check.sh"

# A project whose only step writes one half of its output, waits if it is told to, and writes the other half.
build="$work/a build"
mkdir "$build" && cd "$build" || exit 1
cat > build.ninja <<'END'
rule make
  command = cat in > /dev/null; echo first > $out; [ ! -e slow ] || sleep 600; echo second >> $out
build whole.so: make in
build other.so: make in
END
echo 1 > in
marker() { sh "$root/cmake/build_marker" "$1" "$build" 2>> marker.said; }
make() { ninja "$@" > built 2>&1; }
whole() { expect_file "$1" 'first
second'; }
# kill -9 of ninja, and of what it has started, when half of $1 is written
killed_in_the_middle_of() {
  touch slow
  setsid ninja "$1" > built 2>&1 &
  ninja=$!
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    [ "$(cat "$1" 2>/dev/null)" = first ] && break
    sleep 0.5
  done
  expect_file "$1" first
  for pid in $(ps -o pid= -g "$ninja" 2>/dev/null) $ninja; do kill -9 "$pid" 2>/dev/null; done
  pkill -9 -P "$ninja" 2>/dev/null
  wait "$ninja" 2>/dev/null
  rm slow
}

title 'a build that comes to its end leaves no marker'
expect marker begin
expect test -e .lab-building
expect make
expect marker end
expect_not test -e .lab-building
whole whole.so

title 'a file that was made before, and half of it again when ninja was killed: ninja itself takes it for whole'
rm whole.so
marker begin
killed_in_the_middle_of whole.so
make -n whole.so
expect grep -q 'no work to do' built
title 'the next build makes it again, and nothing else'
cp -p other.so other.before
marker begin
expect grep -q 'ended in the middle; 1 files' marker.said
expect make
marker end
whole whole.so
[ other.so -nt other.before ] && failed 'other.so was made again'

title 'what was finished before ninja was killed is kept'
echo 2 > in
marker begin
expect make other.so
killed_in_the_middle_of whole.so
cp -p other.so other.before
marker begin
expect make
whole whole.so
whole other.so
[ other.so -nt other.before ] && failed 'other.so was made again'
marker end

title 'after a power cut: what was made in the last minutes is made again, what is older is kept'
marker begin
echo another-boot > .lab-building
touch -d '1 hour ago' in build.ninja
touch -d '10 minutes ago' .lab-building
touch -d '5 minutes ago' other.so
: > whole.so
make -n
expect grep -q 'no work to do' built
cp -p other.so other.before
marker begin
expect_not test -e whole.so
expect test -e other.so
expect make
marker end
whole whole.so
[ other.so -nt other.before ] && failed 'other.so was made again'

title 'the marker itself was lost in the power cut'
marker begin
: > .lab-building
touch -d '1 minute ago' .lab-building
: > whole.so
marker begin
expect make
marker end
whole whole.so

finish
