"""Benchmarks: `python -m tests.benchmarks` prints a table of rates beside a plain PyTorch loop's.

Timings depend on the machine, so nothing here is a test; tests/test_benchmarks.py holds that what
is compared computes the same.
"""
