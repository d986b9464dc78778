"""How similar is a set of training languages to a test language?

Ji and Chen (2024), section 4.3: the aggregated similarity of the languages that
a model was tuned on to a test language is the sum of their similarities to it,
each between 0 and 1, by seven measures. Six of them are read from URIEL's
features, as lang2vec ships them (Littell et al., 2017), and not from its tables
of distances; the seventh, the correspondence of consonants (Beaufils and
Tomin, 2020), is a table that the user has to supply.
"""

import csv
import functools
import importlib.util
import pathlib
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from mlit_jax import languages as languages_lib
from mlit_jax.errors import UsageError

Similarity = Callable[[str, str], float]
SOUND = "sound"
# Which features each measure compares. The featural one takes all three
# typological sets, as URIEL does.
_PREFIXES = {
    "syntactic": ("S_",), "phonological": ("P_",), "inventory": ("INV_",),
    "featural": ("S_", "P_", "INV_"),
}
GENETIC, GEOGRAPHIC = "genetic", "geographic"
URIEL = (
    "syntactic", GEOGRAPHIC, "phonological", GENETIC, "inventory", "featural",
)
_FILES = {GENETIC: "family_features.npz", GEOGRAPHIC: "geocoord_features.npz"}
_TYPOLOGY = "feature_predictions.npz"  # gaps filled by nearest neighbours


def aggregate(
    similarity: Similarity, trained: Iterable[str], test: str
) -> float:
  """The sum of the training languages' similarities to a test language."""
  return float(sum(similarity(lang, test) for lang in trained))


def uriel(measure: str) -> Similarity:
  """A measure over URIEL's features, as a function of two languages.

  Typological features and families are 0 or 1, and the similarity is the
  cosine of two languages' features. The geographic features are distances to
  299 places on the globe as shares of half its circumference; two languages
  differ in them by at most their own distance, and by nearly that for the
  place that lies farthest behind one of them, so that the similarity is 1 less
  the largest difference.

  Args:
    measure: one of URIEL.

  Raises:
    UsageError: lang2vec is not installed.
    ValueError: no such measure; when it is called, a language without data.
  """
  if measure not in URIEL:
    raise ValueError(f"no measure {measure!r}; known: {', '.join(URIEL)}")
  _directory()  # rather now than after hours of training
  find = functools.partial(_features, measure)
  if measure == GEOGRAPHIC:
    return lambda a, b: 1 - float(np.abs(find(a) - find(b)).max())

  def compare(a: str, b: str) -> float:
    if a == b:  # an isolate has no family at all
      return 1.0
    x, y = find(a), find(b)
    norms = float(np.linalg.norm(x) * np.linalg.norm(y))
    return min(1.0, float(x @ y) / norms) if norms else 0.0

  return compare


def from_table(rows: Mapping[tuple[str, str], float]) -> Similarity:
  """A measure from given figures; a language is itself to 1.

  Args:
    rows: a pair of languages, in either order, -> similarity from 0 to 1.

  Raises:
    ValueError: a figure out of its range, or two for a pair that differ; when
      it is called, a pair that is not there.
  """
  known: dict[frozenset[str], float] = {}
  for (a, b), value in rows.items():
    if not 0 <= value <= 1:
      raise ValueError(f"{a} {b}: {value} does not lie between 0 and 1")
    if known.setdefault(frozenset((a, b)), value) != value:
      raise ValueError(f"{a} {b}: two different values")

  def compare(a: str, b: str) -> float:
    key = frozenset((a, b))
    if a == b and key not in known:
      return 1.0
    if key not in known:
      raise ValueError(f"the table has no similarity of {a} and {b}")
    return known[key]

  return compare


def read_table(path: str | pathlib.Path) -> Similarity:
  """A measure from a CSV file with the columns a, b, similarity.

  Languages are given by any code that the registry knows.

  Raises:
    UsageError: the file cannot be read, or says something impossible; names
      the line.
  """
  path, rows = pathlib.Path(path), {}
  try:
    text = path.read_text(encoding="utf-8-sig")
  except (OSError, UnicodeDecodeError) as e:
    raise UsageError(f"{path}: cannot be read ({e})") from e
  reader = csv.DictReader(text.splitlines())
  if missing := {"a", "b", "similarity"} - set(reader.fieldnames or ()):
    raise UsageError(
        f"{path}: no column {sorted(missing)[0]!r}; the first line is"
        " a,b,similarity"
    )
  for row in reader:
    where = f"{path}, line {reader.line_num}"
    try:
      pair = tuple(languages_lib.get(row[k] or "").code for k in ("a", "b"))
      value = _number(row["similarity"])
      from_table({pair: value})
    except ValueError as e:
      raise UsageError(f"{where}: {e}") from None
    if rows.get(pair, value) != value or rows.get(pair[::-1], value) != value:
      raise UsageError(f"{where}: {pair[0]} {pair[1]} has another value above")
    rows[pair] = value
  return from_table(rows)


def measures(sound: str | pathlib.Path = "") -> dict[str, Similarity]:
  """The paper's seven measures, or six where no table of sounds is given."""
  found = {measure: uriel(measure) for measure in URIEL}
  if sound:
    found[SOUND] = read_table(sound)
  return found


def _number(text: str | None) -> float:
  try:
    return float(text or "")
  except ValueError:
    raise ValueError(f"similarity {text!r} is not a number") from None


@functools.cache
def _features(measure: str, lang: str) -> np.ndarray:
  """A language's features by URIEL."""
  names, codes, data = _database(_FILES.get(measure, _TYPOLOGY))
  code = languages_lib.get(lang).iso639_3
  rows = np.flatnonzero(codes == code)
  if not rows.size:
    raise ValueError(f"URIEL does not know {lang!r} ({code})")
  found = data[rows[0]].astype(np.float64)
  if prefixes := _PREFIXES.get(measure):
    found = found[[name.startswith(prefixes) for name in names]]
  if (found < 0).any():  # how URIEL marks what it does not know
    raise ValueError(f"URIEL lacks {measure} features of {lang!r} ({code})")
  return found


@functools.cache
def _database(file: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Feature names, languages and values of one of lang2vec's files.

  """
  with np.load(_directory() / file) as found:
    # URIEL has 7,970 languages; all of its families would take 118 MB.
    known = [x.iso639_3 for x in languages_lib.all_languages()]
    kept = np.isin(found["langs"], known)
    return found["feats"], found["langs"][kept], found["data"][kept, :, 0]


def _directory() -> pathlib.Path:
  """Where lang2vec's files lie.

  It is not imported, because it needs a part of setuptools that newer ones
  have not.
  """
  spec = importlib.util.find_spec("lang2vec")
  if spec is None or spec.origin is None:
    raise UsageError(
        "language similarity needs URIEL's features: pip install lang2vec"
    )
  return pathlib.Path(spec.origin).parent / "data"
