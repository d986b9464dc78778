r"""Tables as LaTeX, to be \input into a paper that uses booktabs."""

from collections.abc import Sequence

_SPECIAL = str.maketrans({
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%",
    "$": r"\$", "#": r"\#", "_": r"\_", "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "“": "``", "”": "''", "’": "'", "–": "--", "\n": " ",
})


def escape(text: str) -> str:
  """A text that LaTeX sets as it reads, and takes no command from."""
  return text.translate(_SPECIAL)


def table(
    name: str,
    caption: str,
    columns: Sequence[str],
    rows: Sequence[tuple[str, Sequence[str]]],
) -> str:
  """A whole table environment.

  Args:
    name: for its label, tab:NAME.
    caption: below it.
    columns: headings of all columns but the first.
    rows: headings and cells, as text.
  """

  def line(cells: Sequence[str]) -> str:
    return "    " + " & ".join(escape(cell) for cell in cells) + r" \\"

  return "\n".join([
      r"\begin{table}",
      r"  \centering",
      rf"  \begin{{tabular}}{{l{'r' * len(columns)}}}",
      r"    \toprule",
      line(["", *columns]),
      r"    \midrule",
      *(line([label, *cells]) for label, cells in rows),
      r"    \bottomrule",
      r"  \end{tabular}",
      rf"  \caption{{{escape(caption)}}}",
      rf"  \label{{tab:{name.replace('_', '-')}}}",
      r"\end{table}",
      "",
  ])
