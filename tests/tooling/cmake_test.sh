#!/bin/sh
# What configuring says where it cannot go on: cmake_test.sh SOURCE_FOLDER
set -u
root=$1
. "$root/tests/tooling/check.sh"
cd "$work" || exit 1

# configure [OPTIONS]: in a folder of its own with a space in its name.
configure() {
  rm -rf 'a build'
  cmake -S "$root" -B 'a build' -G Ninja "$@" > said 2>&1
}
# says TEXT: the words of the error, wherever CMake broke the lines.
says() {
  tr -s ' \n' '  ' < said > words
  grep -qF -e "$1" words || failed "CMake did not say \"$1\": $(cat said)"
}

title 'a build path with a space'
expect_status 0 configure

title 'in-source builds are refused'
mkdir tree
cp -R "$root/CMakeLists.txt" "$root/cmake" tree
expect_status 1 sh -c 'cmake tree -B tree > said 2>&1'
# shellcheck disable=SC2016
says 'shardlab does not build inside its source folder: run `./lab`, or `cmake -S . -B build`.'

title 'no LibTorch'
expect_status 1 configure -DCMAKE_DISABLE_FIND_PACKAGE_Torch=ON
says 'LibTorch was not found: install it (Debian: apt-get install libtorch-dev)'
expect_out 1 grep -c 'CMake Error' said

# A LibTorch as its CMake package describes it: libtorch [DEFINITION]
libtorch() {
  mkdir -p fake/include/torch/csrc/distributed/c10d
  cat > fake/TorchConfig.cmake <<END
set(Torch_FOUND TRUE)
set(TORCH_INCLUDE_DIRS "$work/fake/include")
set(TORCH_CXX_FLAGS "")
add_library(torch_cpu INTERFACE IMPORTED)
add_library(torch INTERFACE IMPORTED)
target_compile_definitions(torch INTERFACE "$1")
END
}

title 'a LibTorch without c10d'
libtorch USE_C10D_GLOO
expect_status 1 configure -DTorch_DIR="$work/fake"
says 'This LibTorch was built without c10d'

title 'a LibTorch without Gloo'
libtorch USE_DISTRIBUTED
touch fake/include/torch/csrc/distributed/c10d/ProcessGroupGloo.hpp
expect_status 1 configure -DTorch_DIR="$work/fake"
says 'This LibTorch was built without Gloo'

title 'any other package'
expect_status 1 configure -DCMAKE_DISABLE_FIND_PACKAGE_CLI11=ON
says 'CLI11 was not found: install it (Debian: apt-get install libcli11-dev).'

finish
