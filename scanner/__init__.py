"""Scan anomaly detectors for new physics at the LHC: the same calls as the command line.

The functions take the names of their modules (`scanner.launch` is the function); the modules
themselves are reached by `from scanner.inspection import inspect
from scanner.launch import ...`.
"""

__version__ = "0.1.0"

from scanner.datasets import list_datasets
from scanner.datasets.custom import add_dataset, make_events, write_dataset
from scanner.datasets.darkmachines import import_folder
from scanner.datasets.fetch import fetch
from scanner.estimate import estimate
from scanner.generate import generate
from scanner.inspection import inspect
from scanner.launch import launch, load_grid
from scanner.plan import plan
from scanner.report import report
from scanner.score_events import score_events
from scanner.status import status

__all__ = [
    "add_dataset",
    "estimate",
    "fetch",
    "generate",
    "import_folder",
    "inspect",
    "launch",
    "list_datasets",
    "load_grid",
    "make_events",
    "plan",
    "report",
    "score_events",
    "status",
    "write_dataset",
]
