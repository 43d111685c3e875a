# A module and its grader are declared in one place, graders/<module>/CMakeLists.txt:
#
#   shardlab_module(communication NN SOURCES trees.cpp ring.cpp)
#   shardlab_grader(communication NN BODIES bodies.cpp CASES cases.cpp USES pipeline)
#
# NN: the files may include torch/torch.h (modules, optimizers); without it they get tensors and autograd functions.
#
# shardlab_module makes three shared objects of the same file names, of which a host links one:
#
#   <module>_solutions   solutions/<module>/*.cpp      (not in a student's tree, which has no such folder)
#   <module>_stubs       graders/<module>/stubs/*.cpp  (the exercises as they were shipped)
#   <module>_exercises   exercises/<module>/*.cpp      (the student's), built by this rule:
#
#       exercises/m/ring.cpp --(compile_or_stub)--> ring.cpp.o --(link_or_stub)--> libm_exercises.so
#                                    |                                |
#                     does not compile, is missing, or      does not link with the others
#                     lacks a contract function                       |
#                                    +------> the stub's object  <----+
#                                             and <build>/exercises/m/ring.cpp.error.txt
#
#   So one broken file costs its own parts and no others, and the build of a student's tree does not fail. The error
#   file exists exactly while the stub stands in. Its first line is one sentence that names the file; the compiler's or
#   linker's words follow, if it was they who objected.
#
#   <build>/exercises/m/ring.cpp is the translation unit that CMake knows: it includes the student's file. A student's
#   file that is deleted or renamed therefore breaks neither configuring nor building.
#
# All three are built with hidden visibility: what SHARDLAB_CONTRACT does not export stays inside, so that a helper in a
# student's file never replaces, and is never replaced by, one of ours with the same name.
#
# shardlab_grader makes
#
#   <module>_bodies            the rank bodies, compiled once (graders/<module>/)
#   host_<module>_<flavour>    bodies + the flavour's shared object + the solutions of the modules in USES
#   referee_<module>           the cases (GoogleTest); links nothing of any module
#   graders_<module>           all of these, for `cmake --build --target`

set(shardlab_cmake_dir ${CMAKE_CURRENT_LIST_DIR})

# One shared object of a module. `files` are absolute, or relative to the calling CMakeLists.txt.
function(shardlab_flavour target size)
  add_library(${target} SHARED ${ARGN})
  set_target_properties(${target} PROPERTIES
    DEFINE_SYMBOL "" # a macro that the precompiled header was not made with
    CXX_VISIBILITY_PRESET hidden)
  shardlab_pch(${target} hidden ${size})
  target_link_libraries(${target} PRIVATE shardlab_core)
  # Every symbol must be found at build time: at run time it would end the host, and every case with it.
  target_link_options(${target} PRIVATE -Wl,-z,defs)
endfunction()

function(shardlab_module module)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "NN" "" "SOURCES")
  if(NOT ARG_SOURCES OR ARG_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "shardlab_module(${module}): give the files after SOURCES, and NN before it.")
  endif()
  set(size aten)
  if(ARG_NN)
    set(size nn)
  endif()

  list(TRANSFORM ARG_SOURCES PREPEND stubs/ OUTPUT_VARIABLE stubs)
  shardlab_flavour(${module}_stubs ${size} ${stubs})

  if(IS_DIRECTORY ${PROJECT_SOURCE_DIR}/solutions/${module})
    list(TRANSFORM ARG_SOURCES PREPEND ${PROJECT_SOURCE_DIR}/solutions/${module}/ OUTPUT_VARIABLE solutions)
    shardlab_flavour(${module}_solutions ${size} ${solutions})
  endif()

  set(students ${PROJECT_SOURCE_DIR}/exercises/${module})
  set(units_folder ${PROJECT_BINARY_DIR}/exercises/${module})
  set(stub_objects ${CMAKE_CURRENT_BINARY_DIR}/CMakeFiles/${module}_stubs.dir/stubs)
  set(units)
  foreach(file ${ARG_SOURCES})
    file(CONFIGURE OUTPUT ${units_folder}/${file} CONTENT "#include \"${students}/${file}\"\n" @ONLY)
    # OBJECT_DEPENDS: the stub's object must be there before it is needed in place of the student's.
    set_source_files_properties(${units_folder}/${file} PROPERTIES OBJECT_DEPENDS
      "${stub_objects}/${file}${CMAKE_CXX_OUTPUT_EXTENSION};${shardlab_cmake_dir}/compile_or_stub")
    list(APPEND units ${units_folder}/${file})
  endforeach()
  shardlab_flavour(${module}_exercises ${size} ${units})
  add_dependencies(${module}_exercises ${module}_stubs)
  set(folders ${students} ${units_folder} ${stub_objects} --)
  set(compiler ${shardlab_cmake_dir}/compile_or_stub ${folders} ${CMAKE_CXX_COMPILER_LAUNCHER})
  set(linker ${shardlab_cmake_dir}/link_or_stub ${folders} ${CMAKE_CXX_LINKER_LAUNCHER})
  set_target_properties(${module}_exercises PROPERTIES
    CXX_COMPILER_LAUNCHER "${compiler}"
    CXX_LINKER_LAUNCHER "${linker}"
    LINK_DEPENDS ${shardlab_cmake_dir}/link_or_stub)
endfunction()

function(shardlab_grader module)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "NN" "" "BODIES;CASES;USES")
  if(NOT ARG_BODIES OR NOT ARG_CASES OR ARG_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "shardlab_grader(${module}): give files after BODIES and after CASES, and NN before them.")
  endif()
  set(size aten)
  if(ARG_NN)
    set(size nn)
  endif()
  list(TRANSFORM ARG_USES APPEND _solutions OUTPUT_VARIABLE uses)

  add_library(${module}_bodies OBJECT ${ARG_BODIES})
  shardlab_pch(${module}_bodies hidden ${size})
  target_link_libraries(${module}_bodies PRIVATE shardlab_core)

  add_executable(referee_${module} ${ARG_CASES})
  shardlab_pch(referee_${module} hidden ${size})
  target_link_libraries(referee_${module} PRIVATE shardlab_referee_main shardlab_core GTest::gtest)
  add_custom_target(graders_${module} DEPENDS referee_${module})

  foreach(flavour exercises solutions stubs)
    if(TARGET ${module}_${flavour})
      set(host host_${module}_${flavour})
      add_executable(${host} $<TARGET_OBJECTS:${module}_bodies>)
      set_target_properties(${host} PROPERTIES
        LINKER_LANGUAGE CXX
        LINK_DEPENDS_NO_SHARED ON) # an edited exercise links its shared object anew, and no more
      target_link_libraries(${host} PRIVATE shardlab_host_main ${module}_${flavour} ${uses} shardlab_core)
      add_dependencies(graders_${module} ${host})
    endif()
  endforeach()
endfunction()
