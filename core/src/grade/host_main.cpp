#include "shardlab/grade/host.hpp"

int main(int argc, char** argv) { return shardlab::grade::HostMain(argc, argv); }
