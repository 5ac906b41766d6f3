"""Generated events: mixture, chunks, detector, jets, selection, recipe, and the bundled sample."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from benchmarks import closure
from click.testing import CliRunner
from sklearn.metrics import roc_auc_score

from scanner import cli
from scanner.datasets import open_dataset, read, verify
from scanner.datasets.darkmachines import import_folder, write_text
from scanner.datasets.files import BACKGROUND, processes
from scanner.datasets.published import CHANNELS, COUNTS, failed_cuts
from scanner.errors import GridError, ScannerError
from scanner.events import KIND_CODE, Events, to_table
from scanner.generate import detector, driver, generate, recipe, signals, write
from scanner.generate.chunk import Job, Summary, generate_events
from scanner.generate.describe import single_quantities
from scanner.generate.mixture import Yield, chunks_needed, mix, total
from scanner.generate.particles import Objects, Particles, Towers, delta_phi, of_events, pairs
from scanner.generate.processes import BACKGROUNDS, QCD, Gate, Process
from scanner.generate.pythia import BATCH
from scanner.generate.selection import selected
from scanner.generate.signals import FAMILIES, signal

ROOT = Path(__file__).parents[1]
RECIPE = """name: tiny
seed: 5
channels:
  "2b": {background: 6, signal_events: 4, signals: [chacha_cha300_neut140]}
"""


def particles(rows):
    """Particles from rows (event, PDG code, pT, eta, phi); massless and stable."""
    event, code, pt, eta, phi = (np.array(column) for column in zip(*rows, strict=True))
    pt, eta, phi = (column.astype(float) for column in (pt, eta, phi))
    return Particles(event, np.abs(code), np.sign(code), np.full(len(event), True),
                     pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), pt * np.cosh(eta),
                     pt, eta, phi)


def same(one, other):
    return to_table(one).equals(to_table(other))


# From cross sections to an unweighted mixture


def test_the_mixture_has_the_composition_of_the_cross_sections():
    """Two processes whose selected cross sections are 3 pb and 1 pb, generated very unevenly."""
    rng, kept = np.random.default_rng(0), []
    for _ in range(40):
        many, few = rng.random(rng.poisson(3 * 1000)), rng.random(rng.poisson(1 * 300))
        order, luminosity = mix([many, few], [1000, 300], 800)
        assert len(set(order.tolist())) == len(order) == 800
        assert luminosity == pytest.approx(800 / 4, rel=0.15)
        kept.append((order < len(many)).sum())
    assert np.mean(kept) == pytest.approx(600, abs=4 * np.sqrt(800 * 0.75 * 0.25 / 40))


def test_no_mixture_without_the_luminosity():
    rng = np.random.default_rng(0)
    moments = rng.random(3000), rng.random(20)
    assert mix(moments, [1000, 20], 800) is None
    assert mix(moments, [1000, 20], 5000) is None
    assert mix(moments, [1000, 1000], 800) is not None


def test_the_mixture_is_the_same_in_any_split_into_chunks():
    """More chunks of a process never change which of its events come first relative to others."""
    moments = np.random.default_rng(0).random(1000)
    alone, _ = mix([moments], [10.0], 100)
    assert (alone == np.argsort(moments)[:100]).all()


def test_enough_chunks_are_asked_for():
    found = {"a": Yield(100, 50, 4.0), "b": Yield(100, 1, 90.0)}
    chunk = {"a": 100, "b": 100}
    needed = chunks_needed(found, chunk, 290)
    expected = sum(needed[name] * 100 / y.cross_section_pb * y.cross_section_pb
                   * y.selected / y.generated for name, y in found.items())
    assert min(needed[n] * 100 / y.cross_section_pb for n, y in found.items()) * 2.9 >= 290
    assert expected >= 290
    assert chunks_needed(found, chunk, 1) == {"a": 1, "b": 1}
    nothing = {"a": Yield(300, 0, 4.0)}
    assert chunks_needed(nothing, chunk, 5)["a"] > 3


def test_a_process_is_the_sum_of_its_chunks():
    whole = total([Summary(100, 5, 2.0, 1.0), Summary(300, 9, 4.0, 1.0)])
    assert whole == Yield(400, 14, pytest.approx(3.5))
    assert whole.luminosity == pytest.approx(400 / 3.5)


# Particles and detector


def test_pairs_are_all_pairs_of_an_event():
    rng = np.random.default_rng(1)
    left, right = rng.integers(0, 6, 9), np.sort(rng.integers(0, 6, 12))
    found = set(zip(*(index.tolist() for index in pairs(left, right, 6)), strict=True))
    assert found == {(i, j) for i in range(9) for j in range(12) if left[i] == right[j]}


def test_events_are_renumbered():
    found = of_events(Towers(*(np.array(x) for x in ([0, 1, 1, 3], [1., 2., 3., 4.], [0.] * 4,
                                                    [0.] * 4))), np.array([0, 1, 0, 1], bool))
    assert found.event.tolist() == [0, 0, 1]
    assert found.energy.tolist() == [2, 3, 4]


def test_delta_phi():
    assert delta_phi(np.array([3.1, 0.0, -3.0]), np.array([-3.1, 0.5, 3.0])) == pytest.approx(
        [2 * np.pi - 6.2, 0.5, 2 * np.pi - 6.0])


@pytest.mark.parametrize(("code", "pt", "eta", "spread"), [
    (22, 100.0, 0.5, 0.0117), (211, 200.0, 0.5, 0.0464), (130, 100.0, 2.5, 0.0574),
    (22, 60.0, 4.0, 0.0357)])
def test_towers_measure_energy_without_bias(code, pt, eta, spread):
    """The mean within 1 %, and the width as documented, worked out by hand."""
    n = 3000
    gun = particles([(i, code, pt, eta, 0.1) for i in range(n)])
    towers = detector.calorimeter(gun, np.random.default_rng(2))
    seen = np.bincount(towers.event, towers.energy, n) / gun.energy
    assert seen.mean() == pytest.approx(1.0, abs=0.01)
    assert seen.std() == pytest.approx(spread, rel=0.06)
    assert np.abs(towers.eta - eta).max() < 0.21


def test_invisible_particles_leave_the_missing_momentum():
    rows = [(0, 14, 150.0, 0.3, 1.0), (0, 22, 150.0, 0.3, 1.0 - np.pi),
            (1, 1000022, 80.0, 0.0, 2.0), (1, 13, 80.0, 1.0, 2.0 - np.pi)]
    gun, rng = particles(rows), np.random.default_rng(3)
    towers = detector.calorimeter(gun, rng)
    assert set(towers.event) == {0}
    size, phi = detector.missing_momentum(towers, gun, 2, rng)
    assert size == pytest.approx([150, 80], rel=0.05)
    assert phi == pytest.approx([1.0, 2.0], abs=0.1)


def test_isolation_agrees_with_a_loop():
    rng = np.random.default_rng(4)
    rows = [(event, int(rng.choice([211, 22, 12, 13, 11])), rng.uniform(0.3, 40),
             rng.uniform(-1, 1), rng.uniform(-np.pi, np.pi)) for event in range(5)
            for _ in range(60)]
    gun = particles(rows)
    candidates = np.flatnonzero((gun.code == 11) & (gun.pt > 12))
    slow = []
    for one in candidates:
        cone = [row[2] for index, row in enumerate(rows) if index != one and row[0] == rows[one][0]
                and row[1] not in (12, 13) and row[2] > 0.5
                and (row[3] - rows[one][3])**2
                + delta_phi(np.array(row[4]), np.array(rows[one][4]))**2 < 0.16]
        slow.append(sum(cone))
    assert detector._cone_pt(gun, candidates, 5) == pytest.approx(slow)


def test_leptons_have_their_kind_and_efficiency():
    codes = [11, -11, 13, -13, 22] * 2000
    gun = particles([(i, code, 60.0, 0.7, 0.0) for i, code in enumerate(codes)])
    found = detector.leptons_and_photons(gun, len(codes), np.random.default_rng(5))
    share = {kind: (found.kind == KIND_CODE[kind]).sum() / 2000
             for kind in ("e-", "e+", "m-", "m+", "g")}
    assert share == pytest.approx({"e-": 0.877, "e+": 0.877, "m-": 0.95, "m+": 0.95, "g": 0.85},
                                  abs=0.03)
    assert (found.event % 5)[found.kind == KIND_CODE["e+"]].tolist() == [1] * (
        found.kind == KIND_CODE["e+"]).sum()
    crowded = particles([(0, 11, 60.0, 0.7, 0.0), (0, 211, 20.0, 0.8, 0.1)])
    assert not len(detector.leptons_and_photons(crowded, 1, np.random.default_rng(5)).event)


# Jets


def slow_jets(momenta, radius=0.4, least=12.0):
    """Anti-kT as in arXiv:0802.1189, equations 1 and 2, over all pairs."""
    left, jets = list(momenta), []
    while left:
        x = np.array(left)
        pt = np.hypot(x[:, 0], x[:, 1])
        y = 0.5 * np.log((x[:, 3] + x[:, 2]) / (x[:, 3] - x[:, 2]))
        phi = np.arctan2(x[:, 1], x[:, 0])
        apart = (y[:, None] - y)**2 + delta_phi(phi[:, None], phi)**2
        distance = np.minimum(pt[:, None]**-2, pt**-2) * apart / radius**2
        np.fill_diagonal(distance, pt**-2)
        i, j = sorted(np.unravel_index(distance.argmin(), distance.shape))
        merged = left.pop(j)
        if i == j:
            jets.append(merged)
        else:
            left[i] = left[i] + merged
    return sorted((pt for pt in (np.hypot(*jet[:2]) for jet in jets) if pt > least), reverse=True)


def test_jets_are_those_of_the_definition():
    from scanner.generate.jets import cluster

    rng = np.random.default_rng(6)
    n, size = 4, 40
    towers = Towers(np.repeat([0, 1, 3, 4], size), rng.exponential(30.0, n * size) + 1,
                    rng.normal(0, 1, n * size), rng.uniform(-np.pi, np.pi, n * size))
    found = cluster(towers, 5)
    assert 2 not in found.event
    for event in (0, 1, 3, 4):
        energy, eta, phi = (c[towers.event == event] for c in towers[1:])
        pt = energy / np.cosh(eta)
        momenta = np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), energy], 1)
        fast = sorted(found.pt[found.event == event], reverse=True)
        assert fast == pytest.approx(slow_jets(momenta))


def test_calibrated_jets_have_the_pt_of_particle_jets():
    """A small form of `python -m tests.benchmarks.closure`."""
    process = Process("njets", (*QCD, "PhaseSpace:pTHatMin=100"))
    pt, eta, ratio = closure.responses(process, 500, 3)
    chosen = ratio[(pt > 80) & (pt < 400) & (eta < 2.5)]
    assert len(chosen) > 300
    assert np.median(chosen) == pytest.approx(1.0, abs=0.02)
    assert np.diff(np.quantile(chosen, [0.16, 0.84])) / 2 == pytest.approx(0.055, abs=0.015)


def test_tags_and_overlap():
    from scanner.generate.jets import jets

    n = 2000
    # Jets of 150 GeV: even events hold a B meson in the jet, odd ones do not.
    towers = Towers(np.arange(n), np.full(n, 150.0), np.full(n, 0.05), np.zeros(n))
    mesons = particles([(i, 511, 60.0, 0.0, 0.1) for i in range(0, n, 2)])
    electron = Objects(*(np.array(x) for x in ([0], [KIND_CODE["e-"]], [150.], [150.], [0.1],
                                               [0.0])))
    found = jets(towers, mesons, electron, n, np.random.default_rng(7))
    assert found.event.tolist() == list(range(1, n))
    tagged, bottom = found.kind == KIND_CODE["b"], found.event % 2 == 0
    assert tagged[bottom].mean() == pytest.approx(0.74, abs=0.06)
    assert tagged[~bottom].mean() < 0.02
    assert found.pt == pytest.approx(np.full(n - 1, 150.0), rel=0.06)  # calibrated upwards


# Selection


def slow_selection(channel, event):
    """A channel's cuts as the organisers write them, on one event."""
    jets = [pt for kind, pt in event["objects"] if kind in ("j", "b")]
    leptons = [pt for kind, pt in event["objects"] if kind[0] in "em" and pt > 15]
    missing, scalar = event["met"], sum(jets)
    return {
        "1": missing >= 200 and missing / max(scalar, 1) >= 0.2 and scalar >= 600
        and sum(pt > 50 for pt in jets) >= 4 and sum(pt > 200 for pt in jets) >= 1,
        "2a": missing >= 50 and len(leptons) >= 3,
        "2b": missing >= 50 and scalar >= 50 and len(leptons) >= 2,
        "3": missing >= 100 and scalar >= 600}[channel]


@pytest.mark.parametrize("channel", CHANNELS)
def test_the_selection_is_the_published_one(channel):
    rng = np.random.default_rng(8)
    rows = [{"met": float(rng.uniform(0, 400)), "objects": [
        (str(rng.choice(["j", "j", "j", "b", "e-", "e+", "m-", "m+", "g"])),
         float(rng.uniform(16, 400))) for _ in range(rng.integers(1, 12))]} for _ in range(1000)]
    objects = [pair for row in rows for pair in row["objects"]]
    offsets = np.cumsum([0, *(len(row["objects"]) for row in rows)])
    pt = np.array([pt for _, pt in objects], np.float32)
    label = np.full(len(rows), "x", object)
    events = Events(label, label, np.ones(len(rows)),
                    np.array([row["met"] for row in rows], np.float32), np.zeros(len(rows),
                    np.float32), offsets, np.array([KIND_CODE[k] for k, _ in objects], np.int8),
                    pt, pt, 0 * pt, 0 * pt)
    expected = [slow_selection(channel, row) for row in rows]
    assert 10 < sum(expected) < 950
    assert selected(channel, events).tolist() == expected


# Gates, signals, recipe


def fake(code, pt, eta=0.0, phi=0.0, final=True):
    return SimpleNamespace(isFinal=lambda: final, idAbs=lambda: abs(code), pT=lambda: pt,
                           eta=lambda: eta, px=lambda: pt * float(np.cos(phi)),
                           py=lambda: pt * float(np.sin(phi)))


class FakeProcess(list):
    size = list.__len__


@pytest.mark.parametrize(("gate", "products", "vetoed"), [
    (Gate(leptons=2), [fake(11, 30), fake(-13, 20)], False),
    (Gate(leptons=2), [fake(11, 30), fake(-13, 20, eta=3.0)], True),
    (Gate(leptons=2), [fake(11, 30), fake(-13, 20, final=False)], True),
    (Gate(leptons=2), [fake(11, 30), fake(15, 20)], False),
    (Gate(met=50), [fake(12, 40), fake(-14, 40)], False),
    (Gate(met=50), [fake(12, 40), fake(-14, 40, phi=np.pi)], True),
    (Gate(met=50), [fake(15, 90)], True),
    (Gate(ht=100), [fake(1, 60), fake(21, 30), fake(16, 200)], True),
    (Gate(ht=100), [fake(1, 60), fake(21, 60)], False)])
def test_the_gate(gate, products, vetoed):
    from scanner.generate.pythia import FIRST_PRODUCT, _Veto

    record = FakeProcess([fake(11, 500)] * FIRST_PRODUCT + products)
    assert _Veto(gate).doVetoProcessLevel(record) is vetoed


def test_every_signal_of_the_challenge_has_a_family_but_two():
    for channel, names in COUNTS.items():
        for name in set(names) - {BACKGROUND, "pp23mt_50", "pp24mt_50"}:
            assert signal(name, channel).name == name
    assert all(re.fullmatch(family.pattern, family.example) for family in FAMILIES.values())


def test_masses_are_those_of_the_name():
    slha = signal("gluino_1234.5_neutralino_67.0", "3").slha
    block = slha.split("BLOCK MASS")[1].split("BLOCK")[0]
    masses = dict(re.findall(r"^ (\d+) (\S+)$", block, re.MULTILINE))
    assert (float(masses["1000021"]), float(masses["1000022"])) == (1234.5, 67.0)
    light = [code for code, mass in masses.items() if len(code) > 2 and float(mass) < 1e4]
    assert light == ["1000022", "1000021"] or set(light) == {"1000021", "1000022"}
    assert "23:m0=750" in signal("monojet_Zp750_DM_10", "3").settings


@pytest.mark.parametrize(("name", "text"), [
    ("glgl1400", "one of these, with any masses: glgl1400_neutralino1100, "),
    ("chaneut_cha200_neut150", "the first mass above 242 GeV, or its decays are closed"),
    ("monojet_Zp2000.0_DM_1500.0", "the first mass above 3000 GeV, or its decays are closed"),
    ("monoV_Zp2000.0_DM_1000.0", "the first mass above 2000 GeV, or"),
    ("stlp_st99.9", "a mass of 100 GeV or more"),
    ("stlp_st9000", "masses above 0 and up to 6000 GeV")])
def test_an_impossible_signal_says_what_would_do(name, text):
    with pytest.raises(ValueError, match=text):
        signal(name, "2a")


@pytest.mark.parametrize("settings", [
    ("no such setting=on",), signals._z_prime_and_boson([2000.0, 1500.0])[0]])
def test_what_pythia_refuses_is_one_error_of_the_command(settings, monkeypatch, tmp_path):
    monkeypatch.setitem(BACKGROUNDS, "2b", (Process("odd", settings),))
    (tmp_path / "r.yaml").write_text(RECIPE.replace("chacha_cha300_neut140", ""))
    spoken = CliRunner().invoke(cli.cli, ["data", "generate", str(tmp_path / "r.yaml"), "--cpus",
                                          "1", "--data", str(tmp_path / "root")])
    assert isinstance(spoken.exception, ScannerError)
    assert re.match("odd: PYTHIA (refuses 'no such setting=on'|cannot start this process); ",
                    str(spoken.exception))


def test_the_recipe_of_the_sample_is_valid():
    made = driver.load_recipe(ROOT / "jobs/generate_sample.yaml")
    assert set(made.channels) == set(CHANNELS)
    for channel in CHANNELS:
        assert made.backgrounds(channel)
        assert len(made.signals(channel)) >= 5


def test_all_mistakes_of_a_recipe_are_told_at_once():
    text = ('name: a b\nseed: -1\nchanels: {}\nchannels:\n  "4": {}\n'
            '  "3": {background: 2.5, signals: [stlp_st100, foo]}\n  "1": {signals: [stlp_st100, '
            'stlp_st100], signal_events: 0}\n')
    with pytest.raises(GridError) as error:
        recipe.parse(text, "r.yaml")
    places = [line.split(": ")[0] + " " + line.split(": ")[1] for line in
              str(error.value).splitlines()]
    assert places == ["r.yaml:1:7 name", "r.yaml:2:7 seed", "r.yaml:3:1 chanels",
                      "r.yaml:5:3 channels.4", "r.yaml:6:21 channels.3.background",
                      "r.yaml:6:48 channels.3.signals", "r.yaml:7:18 channels.1.signals",
                      "r.yaml:7:59 channels.1.signal_events"]
    for text in ("", "[]", "name: x", "a: ["):
        with pytest.raises(GridError):
            recipe.parse(text, "r.yaml")


def test_a_missing_extra_or_recipe_is_one_sentence(monkeypatch, tmp_path):
    with pytest.raises(ScannerError, match=r"no\.yaml: cannot be read .* give the path of a recip"):
        generate(tmp_path / "no.yaml")
    monkeypatch.setattr(driver, "find_spec", lambda name: None)
    with pytest.raises(ScannerError, match=r"pip install 'scanner\[generate\]'"):
        generate(tmp_path / "no.yaml")


# Chunks and the whole


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A recipe whose chunks take less than a second."""
    chosen = tuple(replace(process, chunk=100) for process in BACKGROUNDS["2b"]
                   if process.name in ("ttbar", "wtop"))
    monkeypatch.setitem(BACKGROUNDS, "2b", chosen)
    monkeypatch.setattr(signals, "SIGNAL_CHUNK", 100)
    (tmp_path / "r.yaml").write_text(RECIPE)
    return tmp_path


def test_interrupted_or_not_in_one_process_or_two(small):
    """The same files; as text they are imported to the same events."""
    def stop(done, planned, text):
        if done > 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(small / "r.yaml", small / "two", cpus=2, progress=stop)
    assert not (small / "two/tiny").exists()
    kept = {path: path.stat().st_mtime_ns for path in (small / "two").rglob("*.parquet")}
    two = generate(small / "r.yaml", small / "two", cpus=2)
    assert kept
    assert all(path.stat().st_mtime_ns == then for path, then in kept.items())
    command = ["data", "generate", str(small / "r.yaml"), "--data", str(small / "one"), "--csv",
               str(small / "text"), "--cpus", "1"]
    spoken = CliRunner().invoke(cli.cli, command)
    assert spoken.exit_code == 0
    assert "| wtop |" in spoken.stdout
    one = open_dataset("tiny", small / "one")
    assert one.digest == two.dataset.digest
    verify(one)
    assert [len(read(one, "2b", name)) for name in processes(one, "2b")] == [6, 4]
    back = import_folder(small / "text", "back", small / "one").dataset
    for name in processes(one, "2b"):
        assert same(read(back, "2b", name), read(one, "2b", name))
        assert selected("2b", read(one, "2b", name)).all()
    assert (read(one, "2b", BACKGROUND).weight == 1).all()
    assert len(set(read(one, "2b", "chacha_cha300_neut140").weight)) == 1


def test_the_files_are_synced_and_no_other_is_taken_over(tmp_path, monkeypatch):
    sample, synced = open_dataset("sample"), []
    (tmp_path / ".tiny.import/chan1").mkdir(parents=True)
    for name in ("dataset.json", "notes.txt", "chan1/background.parquet"):
        (tmp_path / ".tiny.import" / name).write_text("{}")
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(
        Path(f"/proc/self/fd/{handle}").readlink().name))
    made = write.Made("3", BACKGROUND, read(sample, "3", BACKGROUND), {"zz": Yield(9, 5, 4.0)}, 1.0)
    write.write(recipe.Recipe("tiny", 5, {}, RECIPE), [made], tmp_path, None)
    assert sorted(path.name for path in (tmp_path / "tiny").rglob("*")) == [
        "README.md", "background.parquet", "chan3", "dataset.json"]
    assert [name.startswith(".background.parquet.") for name in synced] == [True]


def test_chunks_differ_by_seed_number_and_settings():
    process = Process("x", ("a=on",))
    jobs = [Job(process, "3", 1, 0), Job(process, "3", 1, 1), Job(process, "3", 2, 0),
            Job(process, "1", 1, 0), Job(replace(process, scale=2.0), "3", 1, 0)]
    assert len({job.digest for job in jobs}) == 5
    assert Job(process, "3", 1, 0).digest == jobs[0].digest
    assert jobs[0].moments(9).tolist() == jobs[0].moments(12)[:9].tolist()


# The bundled sample


def test_the_sample_says_what_needs_no_model():
    """The table of the README; SCANNER_UPDATE_GOLDEN=1 writes it again."""
    sample = open_dataset("sample")
    files = {(channel, name): read(sample, channel, name)
             for channel in sample.channels for name in processes(sample, channel)}
    table, readme = single_quantities(files), sample.path / "README.md"
    text = readme.read_text()
    if os.environ.get("SCANNER_UPDATE_GOLDEN"):
        text = text.split(table.split("\n")[0])[0].rstrip() + "\n\n" + table
        readme.write_text(text)
    assert text.endswith(table)


def test_every_event_of_the_sample_is_selected():
    sample = open_dataset("sample")
    for channel in sample.channels:
        for name in processes(sample, channel):
            events = read(sample, channel, name)
            assert not any(fails.any() for fails in failed_cuts(channel, events).values())
            showers = set(zip(events.process, events.event_id, strict=True))
            assert len(showers) == len(events)
            signal_auc = [row for row in (sample.path / "README.md").read_text().splitlines()
                          if row.startswith(f"| {channel} | `{name}` |")]
            if name != BACKGROUND:
                label = [0] * len(read(sample, channel, BACKGROUND)) + [1] * len(events)
                values = np.concatenate([read(sample, channel, BACKGROUND).met, events.met])
                assert float(signal_auc[0].split("|")[3]) == pytest.approx(
                    roc_auc_score(label, values), abs=6e-4)


# The first events of every process


SAMPLE_RECIPE = driver.load_recipe(ROOT / "jobs/generate_sample.yaml")
FIRST = {process.name: (channel, process) for channel in CHANNELS for process in
         (*SAMPLE_RECIPE.backgrounds(channel), *SAMPLE_RECIPE.signals(channel))}
BY_FAMILY = {name: next(key for key, family in FAMILIES.items()
                        if re.fullmatch(family.pattern, name))
             for name in FIRST if name not in {p.name for ps in BACKGROUNDS.values() for p in ps}}
KEPT = [name for name in FIRST
        if name not in BY_FAMILY or name == max(n for n, f in BY_FAMILY.items()
                                                if f == BY_FAMILY[name])]
RARE = {"Zgam": 2000}  # hard processes until one is selected, where a batch is too few
GOLDEN = ROOT / "tests/golden/generated_first.json"


@pytest.mark.parametrize("name", sorted(KEPT))
def test_the_first_events_of_a_process_are_reproduced(name, tmp_path):
    """The first batch of the first chunk, or more where it is empty; one signal of each family."""
    channel, process = FIRST[name]
    job = Job(process, channel, SAMPLE_RECIPE.seed, 0)
    parts, cross_section_pb = generate_events(job, RARE.get(name, BATCH))
    text = ""
    for part in parts:
        write_text(part, tmp_path / "events.csv")
        text += (tmp_path / "events.csv").read_text()
        assert selected(channel, part).all()
    found = {"channel": channel, "cross_section_pb": float(f"{cross_section_pb:.6g}"),
             "selected": text.count("\n"), "first": text.split("\n")[0]}
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("SCANNER_UPDATE_GOLDEN"):
        golden[name] = found
        GOLDEN.write_text(json.dumps(golden, indent=1, sort_keys=True) + "\n")
    assert found == golden[name]
    assert found["first"]
