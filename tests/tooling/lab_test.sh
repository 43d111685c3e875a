#!/bin/sh
# The script `lab`, on a tree whose program `lab` prints what it was given: lab_test.sh SOURCE_FOLDER
set -u
root=$1
. "$root/tests/tooling/check.sh"
unset LAB_BUILD LAB_JOBS LAB_ROOT CMAKE_PREFIX_PATH Torch_DIR

tree="$work/the tree"
mkdir -p "$tree/cmake" "$work/tools" "$work/elsewhere"
cp "$root/lab" "$tree"
cp "$root/cmake/build_marker" "$tree/cmake"
printf '# comment\nfirst-dev\nsecond-dev # why\n' > "$tree/cmake/packages-debian.txt"
cat > "$tree/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.22)
project(tree LANGUAGES CXX)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
if(EXISTS ${CMAKE_SOURCE_DIR}/broken)
  message(FATAL_ERROR
    "LibTorch was not found: install it, "
    "or name its folder.")
endif()
add_executable(lab lab.cpp)
END
cat > "$tree/lab.cpp" <<'END'
#include <cstdio>
#include <cstdlib>

int main(int count, char** arguments) {
  for (int i = 1; i < count; ++i) std::printf("[%s]", arguments[i]);
  std::printf(" %s %s %s\n", std::getenv("LAB_ROOT"), std::getenv("LAB_BUILD"), std::getenv("LAB_JOBS"));
  return count > 1 ? 1 : 0;
}
END

# A Debian of our own: installed packages are the lines of $work/installed; who we are is in $work/uid.
tool() { cat > "$work/tools/$1" && chmod +x "$work/tools/$1"; }
tool dpkg-query <<END
#!/bin/sh
echo asked >> "$work/asked"
sed 's/^/installed /' "$work/installed"
END
tool apt-get <<END
#!/bin/sh
echo "\$*" >> "$work/apt"
case "\$*" in *install*) [ ! -e "$work/no-network" ] || { echo 'E: Unable to fetch'; exit 100; } ;; esac
END
tool id <<END
#!/bin/sh
cat "$work/uid"
END
tool sudo <<END
#!/bin/sh
exit 1
END
PATH=$work/tools:$PATH
echo 0 > "$work/uid"
echo first-dev > "$work/installed"
cd "$work/elsewhere" || exit 1
lab() { "$tree/lab" "$@" > "$work/out" 2> "$work/err" < /dev/null; }
err() { grep -q -e "$1" "$work/err" || failed "standard error lacks \"$1\": $(cat "$work/err")"; }
one_line() { [ "$(wc -l < "$work/err")" -eq 1 ] || failed "more than one line: $(cat "$work/err")"; }

title 'wrong settings'
LAB_BUILD=$tree expect_status 2 lab
err 'LAB_BUILD names the source folder'
one_line
LAB_BUILD=$tree/../elsewhere/../'the tree' expect_status 2 lab
for jobs in 0 two -1 1.5; do
  LAB_JOBS=$jobs expect_status 2 lab
  err "LAB_JOBS is \"$jobs\""
  one_line
done
echo mine > "$work/elsewhere/thesis.tex"
LAB_BUILD=. expect_status 2 lab
err 'holds other files'
one_line
LAB_BUILD=/proc/nowhere expect_status 3 lab
err 'cannot be written'
one_line

title 'not root, no sudo: says what is missing and stops'
echo 1000 > "$work/uid"
expect_status 3 lab
err 'which are missing: second-dev$'
err 'As root: apt-get install second-dev$'
expect_not test -e "$work/apt"

title 'root: installs what is missing; says so when that fails'
echo 0 > "$work/uid"
touch "$work/no-network"
expect_status 3 lab
err 'E: Unable to fetch'
err 'could not be installed: second-dev'
rm "$work/no-network" "$work/apt"

title 'a configuration that fails: one sentence'
touch "$tree/broken"
expect_status 3 lab
err '^LibTorch was not found: install it, or name its folder.$'
expect_not grep -q 'CMake Error' "$work/err"
expect grep -q 'install .* second-dev$' "$work/apt"
expect_not grep -q 'install .*first-dev' "$work/apt"
rm "$tree/broken"

title 'builds the program and becomes it'
export LAB_JOBS=1
expect_status 1 lab grade 'two words' ''
expect_out "[grade][two words][] $tree $tree/build 1" cat "$work/out"
unset LAB_JOBS

title 'warm: builds and asks nothing'
rm "$work/asked"
expect_status 0 lab
expect_out '' cat "$work/err"
expect grep -q " $tree $tree/build [1-9][0-9]*\$" "$work/out"
expect_not test -e "$work/asked"

title 'while another lab builds: who needs no build does not wait for it'
flock "$tree/build/.lab-lock" sleep 4 &
other=$!
sleep 0.5
echo boot > "$tree/build/.lab-building"
expect_status 0 lab
expect_out '' cat "$work/err"
expect kill -0 "$other"
touch "$tree/lab.cpp"
expect_status 0 lab
err 'waiting for another lab'
expect_not test -e "$tree/build/.lab-building"
wait "$other"

title 'through a symbolic link, in another build folder'
ln -s '../the tree/lab' "$work/tools/course"
LAB_BUILD='another build' LAB_JOBS=1 expect_out " $tree $work/elsewhere/another build 1" sh -c 'course 2>/dev/null'

title 'builds again what changed; says when that fails'
echo 'int main() { return 7; }' > "$tree/lab.cpp"
expect_status 7 lab
echo 'int main() { return seven; }' > "$tree/lab.cpp"
expect_status 3 lab
err 'seven'
err 'lab: the program lab could not be built'
echo 'int main() { return 0; }' > "$tree/lab.cpp"
expect_status 0 lab

title 'an older build folder of another tree'
mkdir "$work/other"
cp -R "$tree/lab" "$tree/cmake" "$tree/CMakeLists.txt" "$tree/lab.cpp" "$work/other"
rm "$tree/build/.lab-packages"
LAB_BUILD="$tree/build" expect_status 2 "$work/other/lab" 2> "$work/err"
err 'is the build folder of .*/the tree'

title 'the list of packages changed'
sleep 1
echo third-dev >> "$tree/cmake/packages-debian.txt"
expect_status 0 lab
expect grep -q 'install .*third-dev' "$work/apt"

finish
