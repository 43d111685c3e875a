# A module and its grader are declared in one place, graders/<module>/CMakeLists.txt:
#
#   shardlab_module(communication NN SOURCES trees.cpp ring.cpp PLAIN sizes.cpp)
#   shardlab_grader(communication NN
#     BODIES bodies.cpp CASES cases.cpp
#     PLAIN_BODIES bodies_plain.cpp PLAIN_CASES cases_plain.cpp
#     USES pipeline)
#
# NN: the files may include torch/torch.h (modules, optimizers); without it they get tensors and autograd functions.
# PLAIN...: what needs no LibTorch. It is a half of its own, with a host and a referee that do not load LibTorch either, and
# is compiled, linked and graded in a second. A module may do without.
#
# shardlab_module makes three shared objects of the same file names, of which a host links one; of a plain half three more,
# <module>_plain_..., which those of the module bring with them:
#
#   <module>_solutions   solutions/<module>/*.cpp      (not in a student's tree, which has no such folder)
#   <module>_stubs       graders/<module>/stubs/*.cpp  (the exercises as they were shipped)
#   <module>_exercises   exercises/<module>/*.cpp      (the student's), built by this rule:
#
#       exercises/m/ring.cpp --(compile_or_stub)--> ring.cpp.o --(link_or_stub)--> libm_exercises.so
#                                    |                                |
#                     does not compile, is missing, or      does not link with the others
#                     lacks a contract function                       |
#                                    +---->  left out, with   <-------+
#                                            <build>/exercises/m/ring.cpp.error.txt
#
#   The stubs are linked too, as weak symbols (weak_stubs): they give the functions of a file that is left out, and of one
#   that is still its stub, which need not be compiled again. So one broken file costs its own parts and no others, and the build of a student's tree does not fail. The error
#   file exists exactly while the stub stands in. Its first line is one sentence that names the file; the compiler's or
#   linker's words follow, if they objected.
#
#   <build>/exercises/m/ring.cpp is the translation unit that CMake knows: it includes the student's file. A student's
#   file that is deleted or renamed therefore breaks neither configuring nor building.
#
# All are built with hidden visibility: what SHARDLAB_CONTRACT does not export stays inside, so that a helper in a
# student's file never replaces, and is never replaced by, one of ours with the same name.
#
# shardlab_grader makes
#
#   <module>_bodies            the rank bodies, compiled once (graders/<module>/)
#   host_<module>_<flavour>    all bodies + the flavour's shared object + the solutions of the modules in USES
#   referee_<module>           the cases (GoogleTest); links nothing of any module
#   graders_<module>           all of these, for `cmake --build --target`
#
# with what graders share (graders/kit): bodies and hosts have shardlab_kit_bodies, the referee shardlab_kit. And where there
# is a plain half
#
#   <module>_plain_bodies      its bodies
#   host_<module>_plain_<flavour>  these + the flavour's plain shared object
#   referee_<module>_plain     its cases

set(shardlab_cmake_dir ${CMAKE_CURRENT_LIST_DIR})

# What all compiled code of a module has; `size` and the rest as shardlab_code takes them.
function(shardlab_module_code target size)
  shardlab_code(${target} ${size} ${ARGN})
  if(size STREQUAL plain)
    target_link_libraries(${target} PRIVATE shardlab_base)
  else()
    target_link_libraries(${target} PRIVATE shardlab_core)
  endif()
endfunction()

# One shared object of a module, its files compiled by themselves with `how` ALONE. They are absolute, or relative to the
# calling CMakeLists.txt.
function(shardlab_flavour target size how)
  add_library(${target} SHARED ${ARGN})
  set_target_properties(${target} PROPERTIES LINK_DEPENDS_NO_SHARED ON)
  shardlab_module_code(${target} ${size} ${how})
  # Every symbol must be found at build time: at run time it would end the host, and every case with it.
  target_link_options(${target} PRIVATE -Wl,-z,defs)
endfunction()

# <name>_stubs, <name>_solutions and <name>_exercises: some files of a module.
function(shardlab_flavours name module size)
  list(TRANSFORM ARGN PREPEND stubs/ OUTPUT_VARIABLE stubs)
  add_library(${name}_stub_objects OBJECT ${stubs})
  shardlab_module_code(${name}_stub_objects ${size})
  shardlab_flavour(${name}_stubs ${size} "" $<TARGET_OBJECTS:${name}_stub_objects>)
  set_target_properties(${name}_stubs PROPERTIES LINKER_LANGUAGE CXX)
  set(weak_stubs ${CMAKE_CURRENT_BINARY_DIR}/${name}_weak_stubs.o)
  set(contract ${CMAKE_CURRENT_BINARY_DIR}/${name}_contract.txt)
  add_custom_command(OUTPUT ${weak_stubs} ${contract}
    COMMAND ${shardlab_cmake_dir}/weak_stubs ${CMAKE_CXX_COMPILER} ${weak_stubs} ${contract} $<TARGET_OBJECTS:${name}_stub_objects>
    DEPENDS ${name}_stub_objects $<TARGET_OBJECTS:${name}_stub_objects> ${shardlab_cmake_dir}/weak_stubs
    COMMAND_EXPAND_LISTS VERBATIM)

  if(IS_DIRECTORY ${PROJECT_SOURCE_DIR}/solutions/${module})
    list(TRANSFORM ARGN PREPEND ${PROJECT_SOURCE_DIR}/solutions/${module}/ OUTPUT_VARIABLE solutions)
    shardlab_flavour(${name}_solutions ${size} "" ${solutions})
  endif()

  set(students ${PROJECT_SOURCE_DIR}/exercises/${module})
  set(units_folder ${PROJECT_BINARY_DIR}/exercises/${module})
  set(units)
  foreach(file ${ARGN})
    file(CONFIGURE OUTPUT ${units_folder}/${file} CONTENT "#include \"${students}/${file}\"\n" @ONLY)
    set_source_files_properties(${units_folder}/${file} PROPERTIES OBJECT_DEPENDS
      "${contract};${shardlab_cmake_dir}/compile_or_stub;${shardlab_cmake_dir}/limited")
    list(APPEND units ${units_folder}/${file})
  endforeach()
  shardlab_flavour(${name}_exercises ${size} ALONE ${units})
  # Behind the student's objects: what both define inline is the student's.
  target_link_libraries(${name}_exercises PRIVATE ${weak_stubs})
  # A section of an object (.deplibs) would choose what is linked with it.
  if(SHARDLAB_LLD)
    target_link_options(${name}_exercises PRIVATE -Wl,--no-dependent-libraries)
  endif()
  set(given ${students} ${units_folder} ${contract} --)
  set(compiler ${shardlab_cmake_dir}/compile_or_stub ${given} ${CMAKE_CXX_COMPILER_LAUNCHER})
  set(linker ${shardlab_cmake_dir}/link_or_stub ${given} ${CMAKE_CXX_LINKER_LAUNCHER})
  set_target_properties(${name}_exercises PROPERTIES
    CXX_COMPILER_LAUNCHER "${compiler}"
    CXX_LINKER_LAUNCHER "${linker}"
    LINK_DEPENDS "${shardlab_cmake_dir}/link_or_stub;${shardlab_cmake_dir}/limited")
endfunction()

function(shardlab_module module)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "NN" "" "SOURCES;PLAIN")
  if(NOT ARG_SOURCES OR ARG_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "shardlab_module(${module}): give the files after SOURCES and PLAIN, and NN before them.")
  endif()
  set(size aten)
  if(ARG_NN)
    set(size nn)
  endif()
  shardlab_flavours(${module} ${module} ${size} ${ARG_SOURCES})
  if(NOT ARG_PLAIN)
    return()
  endif()
  shardlab_flavours(${module}_plain ${module} plain ${ARG_PLAIN})
  foreach(flavour exercises solutions stubs)
    if(TARGET ${module}_${flavour})
      target_link_libraries(${module}_${flavour} PUBLIC ${module}_plain_${flavour})
    endif()
  endforeach()
endfunction()

# A host for each flavour that `name` has: the objects of `bodies`, the shared object, and the libraries given last.
function(shardlab_hosts name module bodies)
  foreach(flavour exercises solutions stubs)
    if(TARGET ${name}_${flavour})
      set(host host_${name}_${flavour})
      add_executable(${host} ${bodies})
      set_target_properties(${host} PROPERTIES
        LINKER_LANGUAGE CXX
        LINK_DEPENDS_NO_SHARED ON) # an edited exercise links its shared object anew, and no more
      target_link_libraries(${host} PRIVATE shardlab_host_main ${name}_${flavour} ${ARGN})
      add_dependencies(graders_${module} ${host})
    endif()
  endforeach()
endfunction()

function(shardlab_grader module)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "NN" "" "BODIES;CASES;PLAIN_BODIES;PLAIN_CASES;USES")
  if(NOT ARG_BODIES OR NOT ARG_CASES OR ARG_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "shardlab_grader(${module}): give files after BODIES and after CASES, and NN before them.")
  endif()
  set(size aten)
  if(ARG_NN)
    set(size nn)
  endif()
  list(TRANSFORM ARG_USES APPEND _solutions OUTPUT_VARIABLE uses)

  add_custom_target(graders_${module})
  set(bodies $<TARGET_OBJECTS:${module}_bodies>)
  if(ARG_PLAIN_BODIES)
    add_library(${module}_plain_bodies OBJECT ${ARG_PLAIN_BODIES})
    shardlab_module_code(${module}_plain_bodies plain)
    shardlab_hosts(${module}_plain ${module} $<TARGET_OBJECTS:${module}_plain_bodies> shardlab_base)
    add_executable(referee_${module}_plain ${ARG_PLAIN_CASES})
    shardlab_module_code(referee_${module}_plain plain)
    target_link_libraries(referee_${module}_plain PRIVATE shardlab_referee_main GTest::gtest)
    add_dependencies(graders_${module} referee_${module}_plain)
    list(APPEND bodies $<TARGET_OBJECTS:${module}_plain_bodies>)
  endif()

  add_library(${module}_bodies OBJECT ${ARG_BODIES})
  shardlab_module_code(${module}_bodies ${size})
  target_link_libraries(${module}_bodies PRIVATE shardlab_kit_bodies)
  shardlab_hosts(${module} ${module} "${bodies}" ${uses} shardlab_kit_bodies shardlab_core)
  # The cases of a part are judged in the order of its files only if these are compiled as one (SHARDLAB_UNITY_FILES):
  # CMake says nothing of the order of units.
  add_executable(referee_${module} ${ARG_CASES})
  shardlab_module_code(referee_${module} ${size})
  target_link_libraries(referee_${module} PRIVATE shardlab_referee_main shardlab_kit GTest::gtest)
  add_dependencies(graders_${module} referee_${module})
endfunction()
