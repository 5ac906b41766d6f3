"""One LaTeX document around the tables of a report, so that they can be looked at as they are."""

from __future__ import annotations

from collections.abc import Iterable

from scanner.tables import latex_escape

PREAMBLE = r"""\documentclass[10pt]{article}
\usepackage[a4paper,landscape,margin=10mm]{geometry}
\usepackage{booktabs}
\extrafloats{500}
\setlength{\tabcolsep}{2.5pt}
\renewcommand{\topfraction}{1}
\renewcommand{\floatpagefraction}{0.7}
\makeatletter
\def\@floatboxreset{\reset@font\footnotesize\@setminipage}
\makeatother
"""
COMPILE = "% pdflatex report && bibtex report && pdflatex report && pdflatex report"


def document(name: str, tables: Iterable[str], bibliography: str) -> str:
    r"""A document with every table of the files, and every reference.

    Args:
        name: Name of the report.
        tables: Files with tables, beside the document, without `.tex`; they need `booktabs` alone.
        bibliography: The BibTeX file, without `.bib`.
    """
    inputs = [rf"\input{{{table}}}" + "\n" + r"\clearpage" for table in tables]
    lines = [
        COMPILE, PREAMBLE, r"\pagestyle{myheadings}", rf"\markright{{{latex_escape(name)}}}",
        r"\begin{document}",
        *inputs, r"\nocite{*}", r"\bibliographystyle{unsrt}",
        rf"\bibliography{{{bibliography}}}", r"\end{document}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"
