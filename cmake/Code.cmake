# How every target of shardlab is compiled: shardlab_code(TARGET plain|aten|nn [EXPORTED] [ALONE]).
#
#   plain     no LibTorch
#   aten      tensors and custom autograd functions, precompiled
#   nn        modules and optimizers besides, precompiled: a second a file that needs only tensors does not want to pay
#   EXPORTED  everything in it can be used by other targets (the libraries of the framework); otherwise a symbol stays
#             inside unless it says SHARDLAB_CONTRACT
#   ALONE     each file is compiled by itself (what a student edits, or what is linked file by file)
#
# A file that includes LibTorch costs its precompiled header again, some seconds of processor time, and more than its own
# text. So SHARDLAB_UNITY_FILES files are compiled as one: two files of a target must not give one name, also not in an
# unnamed namespace, to two things. Of 8 files a unit, since with larger ones a core would wait for the last. A build with
# each file by itself and without precompiled headers (cmake --preset no-unity) keeps includes honest.
#
# GCC accepts a precompiled header only with the flags that made it, hidden visibility among them. What is EXPORTED has
# those flags too, and turns visibility to default behind the precompiled header.
if(SHARDLAB_PCH)
  foreach(size aten nn)
    set(name shardlab_pch_${size})
    add_library(${name} OBJECT ${PROJECT_SOURCE_DIR}/cmake/pch_anchor.cpp)
    target_link_libraries(${name} PRIVATE shardlab_torch)
    target_compile_options(${name} PRIVATE -Wall -Wextra)
    set_target_properties(${name} PROPERTIES CXX_VISIBILITY_PRESET hidden)
    target_precompile_headers(${name} PRIVATE ${PROJECT_SOURCE_DIR}/cmake/pch_${size}.hpp)
  endforeach()
endif()

function(shardlab_code target size)
  cmake_parse_arguments(PARSE_ARGV 2 ARG "EXPORTED;ALONE" "" "")
  if(NOT size MATCHES "^(plain|aten|nn)$" OR ARG_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "shardlab_code(${target} ${size} ${ARG_UNPARSED_ARGUMENTS}): say plain, aten or nn, then EXPORTED or ALONE.")
  endif()
  target_compile_options(${target} PRIVATE -Wall -Wextra $<$<BOOL:${SHARDLAB_WERROR}>:-Werror>)
  set_target_properties(${target} PROPERTIES CXX_VISIBILITY_PRESET hidden)
  if(NOT ARG_ALONE)
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE ${SHARDLAB_UNITY_FILES})
  endif()
  if(ARG_EXPORTED)
    set_target_properties(${target} PROPERTIES
      UNITY_BUILD_CODE_BEFORE_INCLUDE "#pragma GCC visibility push(default)"
      UNITY_BUILD_CODE_AFTER_INCLUDE "#pragma GCC visibility pop")
  endif()
  if(NOT size STREQUAL plain)
    target_link_libraries(${target} PRIVATE shardlab_torch)
    if(SHARDLAB_PCH)
      # A program would be compiled with -fPIE, the precompiled header was made with -fPIC: GCC takes them for different.
      get_target_property(type ${target} TYPE)
      if(type STREQUAL EXECUTABLE)
        set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
        target_compile_options(${target} PRIVATE -fPIC)
      endif()
      set_target_properties(${target} PROPERTIES DEFINE_SYMBOL "") # a macro that the header was not made with
      target_precompile_headers(${target} REUSE_FROM shardlab_pch_${size})
      target_compile_options(${target} PRIVATE -Winvalid-pch -Werror=invalid-pch)
    endif()
  endif()
endfunction()
