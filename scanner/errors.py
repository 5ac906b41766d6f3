"""Every error that a user can meet, each with what to do next."""

from __future__ import annotations

from dataclasses import dataclass


class ScannerError(Exception):
    """A user's mistake or a broken input; its text says where, what, allowed and next."""


@dataclass(frozen=True)
class Problem:
    """One fault in a grid file.

    Attributes:
        line: Line number, from 1.
        column: Column number, from 1.
        text: What is wrong, and what would be right.
    """

    line: int
    column: int
    text: str


class GridError(ScannerError):
    """All problems of one grid file, one line each as `path:line:column: text`."""

    def __init__(self, path: str, problems: list[Problem]) -> None:
        self.path = path
        self.problems = sorted(problems, key=lambda p: (p.line, p.column, p.text))
        super().__init__("\n".join(f"{path}:{p.line}:{p.column}: {p.text}" for p in self.problems))


class DataError(ScannerError):
    """A dataset that is missing, malformed or not what it was."""


class DiskError(DataError):
    """A disk that is full, or that cannot be written."""


class ResultError(ScannerError):
    """A result folder, a result file or a ranking table that cannot be used."""


class ClusterError(ScannerError):
    """A Ray cluster that cannot be joined, or that does not serve."""


class NodesMissing(ClusterError):
    """Nodes of a cluster that were waited for in vain."""


class Interrupted(ScannerError):
    """A training that was asked to stop; it goes on from its checkpoint."""
