"""How often the language gate errs, on real text.

  python benchmarks/gate.py ../shared/data --model lid.176.ftz

Sentences of SIB-200 (FLORES), whole, and pairs of them joined, as an answer of
two sentences; every language is chosen among all of them. Prints a table for
docs/judging.md: share found right, found wrong, and abstained.
"""

import argparse
import csv
import pathlib

from mlit_jax import languages
from mlit_jax.judging import identification


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("data", type=pathlib.Path, help="with sib200/LANG/*.tsv")
  parser.add_argument("--model", default="", help="a fastText model's file")
  parser.add_argument("--limit", type=int, default=400, help="per language")
  args = parser.parse_args()
  gate = identification.FastTextGate(args.model)
  texts = {
      folder.name: _sentences(folder)[: args.limit]
      for folder in sorted((args.data / "sib200").iterdir()) if folder.is_dir()
  }
  codes = tuple(texts)
  print("| language | n | right | wrong | abstained | right, two sentences |")
  print("|---|---|---|---|---|---|")
  for code, sentences in texts.items():
    found = [gate.identify(s, codes).lang for s in sentences]
    halves = zip(sentences[::2], sentences[1::2], strict=False)
    pairs = [f"{a} {b}" for a, b in halves]
    two = [gate.identify(s, codes).lang for s in pairs]
    right, abstained = found.count(code), found.count("")
    n = len(found)
    print(
        f"| {languages.get(code).name} | {n} | {100 * right / n:.1f} |"
        f" {100 * (n - right - abstained) / n:.1f} |"
        f" {100 * abstained / n:.1f} | {100 * two.count(code) / len(two):.1f} |"
    )


def _sentences(folder: pathlib.Path) -> list[str]:
  rows = []
  for path in sorted(folder.glob("*.tsv")):
    with open(path, encoding="utf-8", newline="") as file:
      reader = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
      rows += [row["text"] for row in reader]
  return rows


if __name__ == "__main__":
  main()
