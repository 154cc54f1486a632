"""What the benchmarks share: requests, images, generators, figures of processes and machines."""
