"""Benchmarks: ratios against a named peer or limit, both sides in one run."""
