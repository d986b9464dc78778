"""Manifests: which example is trained on in which language, in which order.

Rate-based mixing cannot give "40 of 4,640"; a manifest can be counted, hashed,
compared and checked.
"""

import collections
import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, Self

from mlit_jax import records
from mlit_jax.errors import UsageError

FILE_NAME = "manifest.json"


class ManifestError(ValueError):
  """A manifest file that cannot be used; names it."""


@dataclasses.dataclass(frozen=True)
class Row:
  """One training example.

  Attributes:
    id: the parallel id of the instruction.
    lang: its language.
    response_id: the id whose response is paired with it; the same id but in a
      control with shuffled responses.
    response_lang: the response's language; empty: the instruction's.
  """

  id: str
  lang: str
  response_id: str
  response_lang: str = ""

  def fields(self) -> list[str]:
    given = [self.id, self.lang, self.response_id]
    return [*given, self.response_lang] if self.response_lang else given


@dataclasses.dataclass(frozen=True)
class Manifest:
  """An ordered list of training examples.

  Attributes:
    rows: the examples in order.
    design: how ids meet languages, e.g. `partition`: each id in one language.
    seed: what the choice was drawn with.
  """

  rows: tuple[Row, ...]
  design: str
  seed: int

  @property
  def counts(self) -> dict[str, int]:
    """Examples per language, in alphabetical order of the codes."""
    return dict(sorted(collections.Counter(r.lang for r in self.rows).items()))

  @property
  def hash(self) -> str:
    """SHA-256 of the rows in order: equal on every machine."""
    digest = hashlib.sha256()
    for row in self.rows:
      line = json.dumps(row.fields(), ensure_ascii=False)
      digest.update(line.encode() + b"\n")
    return digest.hexdigest()

  def to_json(self) -> dict[str, Any]:
    return {
        "design": self.design,
        "seed": self.seed,
        "hash": self.hash,
        "counts": self.counts,
        "rows": [row.fields() for row in self.rows],
    }

  @classmethod
  def from_json(cls, value: Any) -> Self:
    """ManifestError unless it is what `to_json` gives, hash included."""
    try:
      rows = tuple(Row(*fields) for fields in value["rows"])
      manifest = cls(rows, str(value["design"]), int(value["seed"]))
      whole = value["hash"] == manifest.hash
    except (KeyError, TypeError, ValueError) as e:
      raise ManifestError(f"not a manifest ({e!r})") from None
    if not whole:
      raise ManifestError("its rows are not the ones its hash was taken of")
    return manifest

  def write(self, directory: str | os.PathLike) -> None:
    """Writes the manifest's file into a directory."""
    records.write_json(pathlib.Path(directory) / FILE_NAME, self.to_json())


def read(path: str | os.PathLike) -> Manifest:
  """The manifest of a file, or of a directory that holds one."""
  path = pathlib.Path(path)
  if path.is_dir():
    path /= FILE_NAME
  try:
    return Manifest.from_json(json.loads(path.read_text(encoding="utf-8")))
  except OSError as e:
    raise ManifestError(
        f"{path}: cannot be read ({e.strerror}); give what `mlit data build`"
        " wrote"
    ) from None
  except ValueError as e:  # ManifestError, too
    raise ManifestError(f"{path}: {e}; build it again") from None


def join(manifests: Sequence[Manifest]) -> Manifest:
  """One after the other.

  Raises:
    UsageError: there is none, or an example (id, languages) stands in two.
  """
  if not manifests:
    raise UsageError("a recipe needs at least one part")
  seen: set[tuple[str, str, str]] = set()
  for manifest in manifests:
    keys = {(r.id, r.lang, r.response_lang) for r in manifest.rows}
    if both := sorted(seen & keys):
      raise UsageError(
          f"{len(both)} examples stand in two parts, e.g. {both[0]}; draw the"
          " parts from different sources or languages"
      )
    seen |= keys
  return Manifest(
      tuple(row for m in manifests for row in m.rows),
      " + ".join(dict.fromkeys(m.design for m in manifests)),
      manifests[0].seed,
  )


@dataclasses.dataclass(frozen=True)
class Difference:
  """How manifest B differs from A.

  Attributes:
    counts: language -> (in A, in B), where they differ.
    only_a, only_b: rows of one alone.
    moved: (id, languages in A, languages in B) of ids in both, where those
      differ.
    reordered: the same rows, in another order.
  """

  counts: dict[str, tuple[int, int]]
  only_a: tuple[Row, ...]
  only_b: tuple[Row, ...]
  moved: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...]
  reordered: bool

  def __bool__(self) -> bool:
    return bool(self.only_a or self.only_b or self.reordered)


def diff(a: Manifest, b: Manifest) -> Difference:
  """Compares row by row; repeated rows count as often as they stand."""
  in_a, in_b = collections.Counter(a.rows), collections.Counter(b.rows)
  only_a, only_b = in_a - in_b, in_b - in_a
  before, after = _languages(a.rows), _languages(b.rows)
  codes = sorted(a.counts.keys() | b.counts.keys())
  return Difference(
      {
          code: (a.counts.get(code, 0), b.counts.get(code, 0))
          for code in codes
          if a.counts.get(code, 0) != b.counts.get(code, 0)
      },
      _in_order(a.rows, only_a),
      _in_order(b.rows, only_b),
      tuple(
          (id_, tuple(before[id_]), tuple(after[id_]))
          for id_ in before
          if id_ in after and set(before[id_]) != set(after[id_])
      ),
      not only_a and not only_b and a.rows != b.rows,
  )


def _in_order(rows: Iterable[Row], left: collections.Counter) -> tuple:
  left, found = collections.Counter(left), []
  for row in rows:
    if left[row]:
      left[row] -= 1
      found.append(row)
  return tuple(found)


def _languages(rows: Iterable[Row]) -> dict[str, list[str]]:
  found = collections.defaultdict(list)
  for row in rows:
    found[row.id].append(row.lang)
  return found
