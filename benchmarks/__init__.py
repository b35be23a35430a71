"""Benchmarks: ratios measured side by side in one run, with the machine named. Run them with `make bench`."""
