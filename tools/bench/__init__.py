"""Benchmarks: vnet and its peers in one interleaved run."""
