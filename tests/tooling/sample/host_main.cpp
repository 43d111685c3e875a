// A host has both kinds of bodies, a plain one only the second.
__attribute__((weak)) void Bodies();
__attribute__((weak)) void PlainBodies();

int main() {
  if (Bodies) {
    Bodies();
  } else {
    PlainBodies();
  }
}
