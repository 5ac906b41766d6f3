"""Latent vectors: those of the outputs, of events spread over the file, few enough to keep."""

import numpy as np
import pytest
import torch
from conftest import make_inputs, make_trial

from scanner import latents, store
from scanner.latents import latent_vectors, spread
from scanner.models import LATENT, build_model
from scanner.representations import Inputs


@pytest.mark.parametrize(("total", "most"), [(1, 200), (199, 200), (200, 200), (5_868, 1000)])
def test_events_are_spread_over_the_file(total, most):
    index = spread(total, most)
    assert len(set(index)) == min(total, most)
    assert (index[0], index[-1]) == (0, total - 1)
    assert len(index) == 1 or np.diff(index).max() <= np.ceil(total / min(total, most)) + 1


@pytest.mark.parametrize("flow", ["none", "planar"])
def test_vectors_are_those_of_the_model_event_by_event(flow, tmp_path, monkeypatch):
    monkeypatch.setattr(latents, "BACKGROUND_EVENTS", 7)
    monkeypatch.setattr(latents, "SIGNAL_EVENTS", 3)
    trial = make_trial(flow=flow)
    model = build_model(trial).eval().double()
    test = {"background": make_inputs(trial, 40), "sa": make_inputs(trial, 2, seed=2)}
    events = {"background": np.arange(40) * 3, "sa": np.arange(2)}
    columns = latent_vectors(trial, model.state_dict(), test, events)
    store.write_scores(tmp_path / "latent.parquet", columns, {})
    table = store.read_scores(tmp_path / "latent.parquet")
    assert table["process"].value_counts().to_dict() == {"background": 7, "sa": 2}
    assert ("zk_0" in table) is (flow != "none")
    for row in table.to_dict("records"):
        place = row["event"] // (3 if row["process"] == "background" else 1)
        one = Inputs(*(tensor[[place]] for tensor in test[row["process"]]))
        outputs = model(one, torch.zeros(1, LATENT, dtype=torch.float64))
        for name in ("z0", "zk") if flow != "none" else ("z0",):
            found = [row[f"{name}_{k}"] for k in range(LATENT)]
            expected = getattr(outputs, name)[0].detach()
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
