#!/bin/sh
# The same files make a module in its three flavours, and what the grader puts in the place of a broken file is the
# exercise as it was shipped: stubs_test.sh SOURCE_FOLDER
set -u
root=$1
. "$root/tests/tooling/check.sh"
cd "$root" || exit 1

for folder in graders/*/stubs; do
  module=$(basename "$(dirname "$folder")")
  title "$module"
  for file in "$folder"/*.cpp; do
    name=$(basename "$file")
    expect cmp "exercises/$module/$name" "$file"
    expect test -f "solutions/$module/$name"
  done
  for file in "exercises/$module"/*.cpp "solutions/$module"/*.cpp; do
    expect test -f "$folder/$(basename "$file")"
  done
  for part_file in $(sed -n 's/^files = \[\(.*\)\]/\1/p' "graders/$module/rubric.toml" | tr -d '",'); do
    expect test -f "exercises/$module/$part_file"
  done
done
finish
