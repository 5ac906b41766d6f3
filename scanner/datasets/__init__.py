"""Datasets: open, read, list, inspect and verify imported events."""

from scanner.datasets.files import (
    Channels,
    Damaged,
    Dataset,
    list_datasets,
    open_dataset,
    read,
    verify,
)
from scanner.datasets.one_file import read_file
from scanner.datasets.summary import inspect

__all__ = ["Channels", "Damaged", "Dataset", "inspect", "list_datasets", "open_dataset", "read",
           "read_file", "verify"]
