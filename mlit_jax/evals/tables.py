"""Results as tables: by language, and by what base and tuning have seen."""

import csv
import io
import os
import pathlib
from collections.abc import Collection, Sequence
from typing import Any

from mlit_jax import languages, records
from mlit_jax.errors import UsageError
from mlit_jax.evals import outcomes

# By whether the base and the tuning data have the language (lucky52, 3.2);
# None: nobody said.
GROUPS = {
    (True, True): "base+tuned",
    (True, False): "base only",
    (False, True): "tuned only",
    (False, False): "neither",
    (True, None): "base",
    (False, None): "not base",
    (None, True): "tuned",
    (None, False): "not tuned",
}


def parse_languages(text: str) -> tuple[str, ...]:
  """Languages as people name them: `en,es`, `lucky52`, `lucky52:5`, `bloom,cs`.

  Raises:
    UsageError: a name is no code, and none of the sets.
  """
  found: list[str] = []
  for part in filter(None, (part.strip() for part in text.split(","))):
    name, colon, number = part.partition(":")
    if name in languages.SETS:
      members = languages.SETS[name]
      known = number.isascii() and number.isdecimal()
      if colon and not (known and 1 <= int(number) <= len(members)):
        raise UsageError(
            f"{part!r}: behind the colon stands a number from 1 to"
            f" {len(members)}"
        )
      found += members[: int(number) if colon else None]
      continue
    try:
      found.append(languages.get(part).code)
    except languages.UnknownLanguageError as e:
      sets = " ".join(languages.SETS)
      raise UsageError(f"{e}; the sets are {sets}") from None
  return tuple(dict.fromkeys(found))


def exposure(
    langs: Sequence[str],
    in_base: Collection[str] | None,
    in_tuning: Collection[str] | None,
) -> dict[str, list[str]]:
  """Group -> the languages in it; None: what either has seen is not known."""
  known = in_base is not None, in_tuning is not None
  found: dict[str, list[str]] = {
      name: [] for seen, name in GROUPS.items()
      if tuple(side is not None for side in seen) == known
  }
  for lang in langs:
    seen = tuple(
        None if side is None else lang in side for side in (in_base, in_tuning)
    )
    found[GROUPS[seen]].append(lang)
  return found


def write(
    output: str | os.PathLike,
    results: dict[str, dict[str, Any]],
    in_base: Collection[str] | None,
    in_tuning: Collection[str] | None,
) -> dict[str, dict[str, Any]]:
  """Writes tables/*.csv and groups.json.

  Args:
    output: the folder of the results.
    results: as in results.json.
    in_base, in_tuning: languages that either has seen; None: not known; both
      None: no groups.

  Returns:
    Benchmark -> group -> as of outcomes.macro; `all` is every language.
  """
  groups: dict[str, dict[str, Any]] = {}
  for name, by_lang in results.items():
    members = {"all": list(by_lang)}
    if in_base is not None or in_tuning is not None:
      members |= exposure(list(by_lang), in_base, in_tuning)
    groups[name] = {
        group: outcomes.macro(output, name, langs, by_lang)
        for group, langs in members.items()
    }
    records.write_text(
        pathlib.Path(output) / "tables" / f"{name.replace(':', '.')}.csv",
        [_table(by_lang, groups[name])],
    )
  records.write_json(pathlib.Path(output) / "groups.json", groups)
  return groups


def _table(by_lang: dict[str, Any], groups: dict[str, Any]) -> str:
  """Rows of languages, then of groups; all metrics with their intervals."""
  metrics = list(dict.fromkeys(
      metric for entry in by_lang.values()
      for metric in (entry["metric"], *entry.get("also", {}))
  ))
  out = io.StringIO()
  table = csv.writer(out, lineterminator="\n")
  table.writerow([
      "language", "n", "failed", "cut",
      *(f"{m}{end}" for m in metrics for end in ("", "_low", "_high")),
  ])
  for lang, entry in by_lang.items():
    also = entry.get("also", {})
    cells = [lang, entry["n"], entry.get("failed", 0), entry.get("cut", 0)]
    for metric in metrics:
      cells += _cells(entry if metric == entry["metric"] else also.get(metric))
    table.writerow(cells)
  for group, found in groups.items():
    cells = []
    for i, metric in enumerate(metrics):
      cells += _cells(found if i == 0 else found.get("also", {}).get(metric))
    table.writerow([
        f"({group}: {' '.join(found['languages']) or 'none'})", "", "", "",
        *cells,
    ])
  return out.getvalue()


def _cells(found: dict[str, Any] | None) -> list[str]:
  if found is None or found["score"] is None:
    return ["", "", ""]
  low, high = found["ci"] or ("", "")
  return [f"{found['score']:.6g}"] + [
      f"{bound:.6g}" if found["ci"] else "" for bound in (low, high)
  ]
