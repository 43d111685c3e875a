#!/bin/sh
# A module exports its contracts and nothing else, the same in each flavour: exports_test.sh SOURCE_FOLDER BUILD_FOLDER
set -u
root=$1 build=$2
. "$root/tests/tooling/check.sh"

# Left out: weak symbols (templates and inline functions of libraries, which have one address in the whole program)
# and the linker's own.
exported() { nm -D --defined-only -C "$1" | sed -n 's/^[0-9a-f]* [TDBR] //p' | grep -v '^_\(_bss_start\|edata\|end\)$' | LC_ALL=C sort -u; }

seen=0
for stubs in "$build"/lib/lib*_stubs.so; do
  [ -e "$stubs" ] || continue
  seen=$((seen + 1))
  title "$(basename "$stubs" _stubs.so)"
  exported "$stubs" > "$work/contracts"
  expect test -s "$work/contracts"
  expect_not grep -v -e '^shardlab::' -e '^\(vtable\|typeinfo\|typeinfo name\) for shardlab::' "$work/contracts"
  for flavour in exercises solutions; do
    library=${stubs%_stubs.so}_$flavour.so
    [ -e "$library" ] || { [ $flavour = solutions ] && [ ! -d "$root/solutions" ]; } || failed "$library is not there"
    exported "$library" > "$work/exported"
    expect diff "$work/contracts" "$work/exported"
  done
done
expect test "$seen" -gt 0
finish
