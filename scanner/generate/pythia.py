"""PYTHIA 8 (arXiv:2203.11601): hard process, gate, shower, hadrons and decays, batch by batch.

Left out for speed: multi-parton interactions, emissions below 2 GeV in the showers (jets above
25 GeV hardly notice), photon emission off quarks, and spin correlations in tau decays.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pythia8mc

from scanner.errors import ScannerError
from scanner.generate.particles import INVISIBLE, Particles
from scanner.generate.processes import Gate, Process

COMMON = (
    "Print:quiet=on", "SLHA:verbose=0", "Next:numberCount=0", "Random:setSeed=on",
    "Beams:eCM=13000.", "PartonLevel:MPI=off", "TauDecays:mode=0",
    "TimeShower:pTmin=2.", "SpaceShower:pTmin=2.",
    "TimeShower:QEDshowerByQ=off", "SpaceShower:QEDshowerByQ=off",
    "ParticleDecays:limitTau0=on", "ParticleDecays:tau0Max=10.",
)
LARGEST_SEED = 900_000_000
PB_PER_MB = 1e9
BATCH = 500
FIRST_PRODUCT = 5  # after the system, the beams and the incoming partons


class _Veto(pythia8mc.UserHooks):  # type: ignore[misc]
    """The gate of a process, asked before any shower."""

    def __init__(self, gate: Gate) -> None:
        pythia8mc.UserHooks.__init__(self)
        self.gate = gate

    def canVetoProcessLevel(self) -> bool:
        return True

    def doVetoProcessLevel(self, process: Any) -> bool:  # noqa: ANN401
        leptons, x, y, ht = 0, 0.0, 0.0, 0.0
        for index in range(FIRST_PRODUCT, process.size()):
            particle = process[index]
            if not particle.isFinal():
                continue
            code = particle.idAbs()
            if code in (11, 13):
                leptons += particle.pT() > 12.0 and abs(particle.eta()) < 2.8
            elif code == 15:
                leptons += particle.pT() > 15.0
                x, y = x + 0.5 * particle.px(), y + 0.5 * particle.py()
                ht += 0.5 * particle.pT()
            elif code in INVISIBLE:
                x, y = x + particle.px(), y + particle.py()
            else:
                ht += particle.pT()
        gate = self.gate
        return leptons < gate.leptons or ht < gate.ht or x * x + y * y < gate.met**2


class Generator:
    """A process ready to be generated.

    Args:
        process: The hard process.
        seed: Seed of all its random numbers, from 1 to `LARGEST_SEED`.

    Raises:
        ScannerError: PYTHIA refuses it.
    """

    def __init__(self, process: Process, seed: int) -> None:
        self._pythia = pythia8mc.Pythia("", False)
        self._veto = _Veto(process.gate)
        self._scale = process.scale
        for setting in (*COMMON, f"Random:seed={seed}", *process.settings):
            if not self._pythia.readString(setting):
                raise ScannerError(f"{process.name}: PYTHIA refuses {setting!r}; install pythia8mc "
                                   "anew, as pyproject.toml has it")
        if process.gate != Gate():
            self._pythia.setUserHooksPtr(self._veto)
        with tempfile.NamedTemporaryFile("w", suffix=".slha") as spectrum:
            if process.slha:
                Path(spectrum.name).write_text(process.slha)
                self._pythia.readString(f"SLHA:file={spectrum.name}")
            if not self._pythia.init():
                raise ScannerError(f"{process.name}: PYTHIA cannot start this process; choose "
                                   "other masses, or leave it out of the recipe")

    def batches(self, events: int) -> Iterator[tuple[int, int, Particles]]:
        """First event, number of events, and particles of each batch; `events` in all."""
        for start in range(0, events, BATCH):
            size = min(BATCH, events - start)
            yield start, size, _particles(self._pythia.nextBatch(size))

    @property
    def cross_section_pb(self) -> float:
        """Cross section of what passes the gate so far, pb."""
        return float(self._pythia.infoPython().sigmaGen()) * PB_PER_MB * self._scale


def _particles(batch: Any) -> Particles:  # noqa: ANN401
    def flat(column: Any) -> Any:  # noqa: ANN401
        return ak.to_numpy(ak.flatten(column))

    counts = ak.to_numpy(ak.num(batch.prt.id))
    code = flat(batch.prt.id).astype(np.int64)
    x, y, z, energy = (flat(batch.prt.p[name]) for name in ("px", "py", "pz", "e"))
    pt = np.hypot(x, y)
    return Particles(np.repeat(np.arange(len(counts)), counts), np.abs(code), np.sign(code),
                     flat(batch.prt.status) > 0, x, y, z, energy, pt,
                     np.arcsinh(z / np.maximum(pt, 1e-9)), np.arctan2(y, x))
