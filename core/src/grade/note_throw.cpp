// Linked into every host: where an exception was thrown is known only to the throw itself; by the time that it is
// caught, the stack is gone.

#include <dlfcn.h>

namespace std {
class type_info;
}

namespace shardlab::grade {
void NoteThrow();  // stack.hpp, which is not included: where a file contains a throw, the compiler has declared the
                   // function below in its own way
}

extern "C" {

/// Stands before the C++ library's own for the host and everything that it links.
__attribute__((visibility("default"), noreturn)) void __cxa_throw(void* exception, std::type_info* type,
                                                                  void (*destroy)(void*)) {
  using Throw = void (*)(void*, std::type_info*, void (*)(void*));
  static const auto real = reinterpret_cast<Throw>(dlsym(RTLD_NEXT, "__cxa_throw"));
  shardlab::grade::NoteThrow();
  real(exception, type, destroy);
  __builtin_unreachable();
}
}
