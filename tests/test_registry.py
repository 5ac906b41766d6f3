"""Registries: every word has its code, and nothing is loaded before it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

from scanner import registry
from scanner.registry import Entry, defaults, resolve

REGISTRIES = {name: value for name, value in vars(registry).items() if name.isupper()}
ENTRIES = [(name, key) for name, entries in REGISTRIES.items() for key in entries]


@pytest.mark.parametrize(("name", "key"), ENTRIES)
def test_every_word_has_its_code(name, key):
    assert callable(resolve(REGISTRIES[name][key]))


@pytest.mark.parametrize(("name", "key"), ENTRIES)
def test_every_word_has_a_line_for_help_and_docs(name, key):
    summary = REGISTRIES[name][key].summary
    assert summary
    assert len(summary) <= 80
    assert "\n" not in summary


@pytest.mark.parametrize(("name", "key"), ENTRIES)
def test_settings_have_a_type_and_words_a_choice(name, key):
    for setting, default in REGISTRIES[name][key].settings.items():
        assert setting.isidentifier()
        if isinstance(default, tuple):
            assert len(set(default)) == len(default) > 1
            assert all(isinstance(word, str) for word in default)
        else:
            assert type(default) in (bool, int, float, str)


def test_a_word_means_one_thing():
    words = [key for name in ("REPRESENTATIONS", "ARCHITECTURES", "FLOWS")
             for key in REGISTRIES[name]]
    assert len(set(words)) == len(words)


def test_the_first_word_is_the_default():
    entry = Entry("math:sqrt", "", {"kind": ("a", "b"), "layers": 3})
    assert defaults(entry) == {"kind": "a", "layers": 3}
    assert resolve(entry)(4) == 2


def test_the_registries_load_no_code():
    code = "import sys, scanner.grid; print([m for m in ('torch', 'ray') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
