//! A real, encrypted UDP mesh on loopback: the cluster harness, the playground server and its command line.
