"""Scan anomaly detectors for new physics at the LHC: the same calls as the command line."""

__version__ = "0.1.0"
