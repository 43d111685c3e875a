# What shardlab stands on. Everything is a Debian package; a missing one is named in one sentence.
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

find_package(OpenMP COMPONENTS CXX QUIET)
if(NOT OpenMP_CXX_FOUND)
  message(FATAL_ERROR "The compiler ${CMAKE_CXX_COMPILER} has no OpenMP: use g++ (Debian: apt-get install g++).")
endif()

find_package(Torch QUIET)
if(NOT Torch_FOUND)
  message(FATAL_ERROR
    "LibTorch was not found: install it (Debian: apt-get install libtorch-dev), or name the folder of yours with "
    "-DCMAKE_PREFIX_PATH=/path/to/libtorch.")
endif()

foreach(need "GTest:libgtest-dev" "CLI11:libcli11-dev" "nlohmann_json:nlohmann-json3-dev" "fmt:libfmt-dev"
             "tomlplusplus:libtomlplusplus-dev"
             "CURL:libcurl4-openssl-dev" "LibArchive:libarchive-dev" "OpenSSL:libssl-dev")
  string(REPLACE ":" ";" need ${need})
  list(GET need 0 package)
  list(GET need 1 debian)
  find_package(${package} QUIET)
  if(NOT ${package}_FOUND)
    message(FATAL_ERROR "${package} was not found: install it (Debian: apt-get install ${debian}).")
  endif()
endforeach()

find_path(SHARDLAB_MUSTACHE_INCLUDE kainjow/mustache.hpp)
if(NOT SHARDLAB_MUSTACHE_INCLUDE)
  message(FATAL_ERROR "kainjow/mustache.hpp was not found: install it (Debian: apt-get install libkainjow-mustache-dev).")
endif()

if(NOT TARGET GTest::gmock)
  message(FATAL_ERROR "GoogleMock was not found: install it (Debian: apt-get install libgmock-dev).")
endif()

# LibTorch's target torch defines USE_C10D_GLOO when it was built with c10d and Gloo; the Gloo headers come from
# Debian's libgloo-dev, or from the folder that SHARDLAB_GLOO_INCLUDE names.
include(CheckIncludeFileCXX)
find_path(SHARDLAB_C10D_HEADER torch/csrc/distributed/c10d/ProcessGroupGloo.hpp PATHS ${TORCH_INCLUDE_DIRS} NO_DEFAULT_PATH)
if(NOT SHARDLAB_C10D_HEADER)
  message(FATAL_ERROR
    "This LibTorch was built without c10d, its distributed package, which every module needs: use Debian's libtorch-dev "
    "or a LibTorch from pytorch.org.")
endif()
get_target_property(shardlab_torch_definitions torch_cpu INTERFACE_COMPILE_DEFINITIONS)
get_target_property(shardlab_torch_definitions_too torch INTERFACE_COMPILE_DEFINITIONS)
if(NOT "${shardlab_torch_definitions};${shardlab_torch_definitions_too};${TORCH_CXX_FLAGS}" MATCHES "USE_C10D_GLOO")
  message(FATAL_ERROR
    "This LibTorch was built without Gloo, through which ranks talk on CPUs: use Debian's libtorch-dev or a LibTorch "
    "from pytorch.org.")
endif()
find_path(SHARDLAB_GLOO_HEADER gloo/algorithm.h PATHS ${SHARDLAB_GLOO_INCLUDE} ${TORCH_INCLUDE_DIRS})
if(NOT SHARDLAB_GLOO_HEADER)
  message(FATAL_ERROR
    "The headers of Gloo were not found: install them (Debian: apt-get install libgloo-dev), or name the folder with the "
    "headers of this LibTorch's Gloo with -DSHARDLAB_GLOO_INCLUDE=/path.")
endif()
find_library(SHARDLAB_GLOO_LIBRARY gloo)
if(NOT SHARDLAB_GLOO_LIBRARY)
  set(SHARDLAB_GLOO_LIBRARY "") # LibTorch's own binaries carry Gloo inside.
endif()

# Stacks of a rank that crashed: backward-cpp, header only, reads line numbers with elfutils' libdw.
find_path(SHARDLAB_BACKWARD_HEADER backward.hpp)
find_library(SHARDLAB_LIBDW dw)
find_path(SHARDLAB_LIBDW_HEADER elfutils/libdw.h)
if(NOT SHARDLAB_BACKWARD_HEADER OR NOT SHARDLAB_LIBDW OR NOT SHARDLAB_LIBDW_HEADER)
  message(FATAL_ERROR
    "backward-cpp or libdw was not found: install them (Debian: apt-get install libbackward-cpp-dev libdw-dev).")
endif()

# Which system calls a sandboxed program may make.
find_library(SHARDLAB_LIBSECCOMP seccomp)
find_path(SHARDLAB_LIBSECCOMP_HEADER seccomp.h)
if(NOT SHARDLAB_LIBSECCOMP OR NOT SHARDLAB_LIBSECCOMP_HEADER)
  message(FATAL_ERROR "libseccomp was not found: install it (Debian: apt-get install libseccomp-dev).")
endif()

# A fast linker: an edited exercise links in 0.2 s instead of 1.25 s.
find_program(SHARDLAB_LLD ld.lld)
find_program(SHARDLAB_GOLD ld.gold)
if(SHARDLAB_LLD)
  add_link_options(-fuse-ld=lld)
elseif(SHARDLAB_GOLD)
  add_link_options(-fuse-ld=gold)
endif()

# shardlab_torch: everything a translation unit that uses LibTorch needs.
add_library(shardlab_torch INTERFACE)
target_link_libraries(shardlab_torch INTERFACE torch OpenMP::OpenMP_CXX Threads::Threads ${SHARDLAB_GLOO_LIBRARY})
target_include_directories(shardlab_torch SYSTEM INTERFACE ${TORCH_INCLUDE_DIRS} ${SHARDLAB_GLOO_HEADER})
separate_arguments(shardlab_torch_flags UNIX_COMMAND "${TORCH_CXX_FLAGS}")
target_compile_options(shardlab_torch INTERFACE ${shardlab_torch_flags})
