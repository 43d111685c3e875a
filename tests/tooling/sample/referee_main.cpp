int Cases();

int main() { return Cases(); }
