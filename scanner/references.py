"""The literature that a report rests on: BibTeX entries, chosen by what was scanned and ranked."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Reference:
    """One BibTeX entry.

    Attributes:
        fields: Fields of the entry, in order; `type` is its kind.
        words: Names of the registries, datasets or tables that use it; none for every report.
    """

    fields: dict[str, str]
    words: tuple[str, ...] = ()


def _preprint(number: str, author: str, title: str, year: int, *words: str) -> Reference:
    return Reference({"type": "misc", "author": author, "title": title, "year": str(year),
                      "eprint": number, "archivePrefix": "arXiv"}, words)  # fmt: skip


def _article(
    doi: str, author: str, title: str, journal: str, volume: str, pages: str, year: int, *words: str
) -> Reference:
    return Reference({"type": "article", "author": author, "title": title, "journal": journal,
                      "volume": volume, "pages": pages, "year": str(year), "doi": doi},
                     words)  # fmt: skip


SCAN = "a scan"
SEARCH = "a search"
VAES = ("conv_vae", "gcn_vae", "deepset_vae")
SYLVESTER = ("sylvester_orthogonal", "sylvester_householder", "sylvester_triangular")
REFERENCES = {
    "Aarrestad2021": _preprint(
        "2105.14027", "Aarrestad, T. and others", "The {Dark Machines} Anomaly Score Challenge: "
        "Benchmark Data and Model Independent Event Classification for the {Large Hadron Collider}",
        2021),
    "Jawahar2022": Reference(
        {"type": "article", "author": "Jawahar, P. and others",
         "title": "Improving Variational Autoencoders for New Physics Detection at the {LHC} with "
         "Normalizing Flows", "journal": "Front. Big Data", "volume": "5", "pages": "803685",
         "year": "2022", "doi": "10.3389/fdata.2022.803685", "eprint": "2110.08508",
         "archivePrefix": "arXiv"}, (SCAN,)),
    "Kingma2013": _preprint(
        "1312.6114", "Kingma, D. P. and Welling, M.", "Auto-Encoding Variational {Bayes}", 2013,
        *VAES),
    "Kipf2016": _preprint(
        "1609.02907", "Kipf, T. N. and Welling, M.",
        "Semi-Supervised Classification with Graph Convolutional Networks", 2016, "gcn_vae"),
    "Zaheer2017": _preprint("1703.06114", "Zaheer, M. and others", "Deep Sets", 2017,
                            "deepset_vae"),
    "Rezende2015": _preprint(
        "1505.05770", "Rezende, D. J. and Mohamed, S.",
        "Variational Inference with Normalizing Flows", 2015, "planar"),
    "vandenBerg2018": _preprint(
        "1803.05649", "van den Berg, R. and Hasenclever, L. and Tomczak, J. M. and Welling, M.",
        "Sylvester Normalizing Flows for Variational Inference", 2018, *SYLVESTER),
    "Kingma2016": _preprint(
        "1606.04934", "Kingma, D. P. and others",
        "Improving Variational Inference with Inverse Autoregressive Flow", 2016, "iaf"),
    "Zheng2017": _preprint(
        "1711.02255", "Zheng, G. and Yang, Y. and Carbonell, J.",
        "Convolutional Normalizing Flows", 2017, "convolutional"),
    "Durkan2019": _preprint(
        "1906.04032", "Durkan, C. and Bekasov, A. and Murray, I. and Papamakarios, G.",
        "Neural Spline Flows", 2019, "nsf_ar"),
    "nflows": Reference(
        {"type": "misc", "author": "Durkan, C. and Bekasov, A. and Murray, I. and Papamakarios, G.",
         "title": "{nflows}: normalizing flows in {PyTorch}", "year": "2020",
         "doi": "10.5281/zenodo.4296287"}, ("iaf", "nsf_ar")),
    "Bierlich2022": _preprint(
        "2203.11601", "Bierlich, C. and others",
        "A comprehensive guide to the physics and usage of {PYTHIA} 8.3", 2022, "sample"),
    "Cacciari2011": _preprint(
        "1111.6097", "Cacciari, M. and Salam, G. P. and Soyez, G.", "{FastJet} User Manual", 2011,
        "sample"),
    "Paszke2019": _preprint(
        "1912.01703", "Paszke, A. and others", "{PyTorch}: An Imperative Style, High-Performance "
        "Deep Learning Library", 2019, SCAN),
    "Moritz2017": _preprint(
        "1712.05889", "Moritz, P. and others",
        "{Ray}: A Distributed Framework for Emerging {AI} Applications", 2017, SCAN),
    "Liaw2018": _preprint(
        "1807.05118", "Liaw, R. and others", "{Tune}: A Research Platform for Distributed Model "
        "Selection and Training", 2018, SCAN),
    "Akiba2019": _preprint(
        "1907.10902", "Akiba, T. and others", "{Optuna}: A Next-generation Hyperparameter "
        "Optimization Framework", 2019, SEARCH),
    "Harris2020": _article(
        "10.1038/s41586-020-2649-2", "Harris, C. R. and others", "Array programming with {NumPy}",
        "Nature", "585", "357--362", 2020),
    "Virtanen2020": _article(
        "10.1038/s41592-019-0686-2", "Virtanen, P. and others", "{SciPy} 1.0: fundamental "
        "algorithms for scientific computing in {Python}", "Nat. Methods", "17", "261--272", 2020),
    "McKinney2010": Reference(
        {"type": "inproceedings", "author": "McKinney, W.",
         "title": "Data Structures for Statistical Computing in {Python}",
         "booktitle": "Proc. 9th Python in Science Conf.", "pages": "56--61", "year": "2010",
         "doi": "10.25080/Majora-92bf1922-00a"}),
    "Hunter2007": _article(
        "10.1109/MCSE.2007.55", "Hunter, J. D.", "Matplotlib: A {2D} graphics environment",
        "Comput. Sci. Eng.", "9", "90--95", 2007),
}  # fmt: skip


def bibtex(words: Collection[str]) -> str:
    """The entries that these words need, and those of every report.

    Args:
        words: Names of datasets, architectures and flows, `SCAN` with a result folder, `SEARCH`
            with an Optuna search.
    """
    chosen = {key: entry for key, entry in REFERENCES.items()
              if not entry.words or set(entry.words) & set(words)}  # fmt: skip
    return "\n".join(_entry(key, entry.fields) for key, entry in chosen.items())


def _entry(key: str, fields: dict[str, str]) -> str:
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if name != "type"]
    return "\n".join([f"@{fields['type']}{{{key},", *lines, "}"]) + "\n"
