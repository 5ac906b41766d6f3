"""Generated datasets: PYTHIA, FastJet and a parametric detector, behind the extra `generate`.

Only the modules `pythia` and `jets` import the extra; they are loaded where a chunk is made.
"""

from scanner.generate.driver import Generated, generate

__all__ = ["Generated", "generate"]
