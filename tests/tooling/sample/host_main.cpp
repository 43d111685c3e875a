void Bodies();

int main() { Bodies(); }
