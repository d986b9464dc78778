"""Does training data hold what a model is evaluated on?

Three ways to tell, across languages: the parallel id is the same, the
normalised text is the same, or the texts are near-duplicates (Jaccard
similarity of their character n-grams; candidates come from MinHash, Broder
1997, and are then measured exactly).
"""

import collections
import dataclasses
import hashlib
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

_SHINGLE = 5  # characters: works without spaces, too
_PERMUTATIONS = 128
# Candidates are looked for below the threshold, so that few are missed.
_SLACK = 0.2
_BATCH = 1024


@dataclasses.dataclass(frozen=True)
class Text:
  """A prompt, known by its id and language."""

  id: str
  lang: str
  text: str


@dataclasses.dataclass(frozen=True)
class Leak:
  """A training text that an evaluation text is in.

  Attributes:
    kind: `id`, `text` or `near`, the first of these that holds.
    train, evaluation: (id, language) of the two.
    similarity: Jaccard similarity of the texts; 1 for equal ones. Of the kind
      `id`, whose texts may be of two languages, it is what it is.
  """

  kind: str
  train: tuple[str, str]
  evaluation: tuple[str, str]
  similarity: float

  def to_row(self) -> dict:
    return dataclasses.asdict(self)


def normalise(text: str) -> str:
  """NFKC, case-folded, letters, marks and digits alone."""
  folded = unicodedata.normalize("NFKC", text).casefold()
  kept = [c for c in folded if unicodedata.category(c)[0] in "LMN"]
  return "".join(kept)


def shingles(text: str) -> frozenset[str]:
  """Character n-grams of the normalised text; a short text is one shingle."""
  plain = normalise(text)
  last = max(1, len(plain) - _SHINGLE + 1)
  return frozenset(plain[i : i + _SHINGLE] for i in range(last)) - {""}


def jaccard(a: frozenset, b: frozenset) -> float:
  return len(a & b) / len(a | b) if a or b else 0.0


def find(
    train: Iterable[Text], evaluation: Sequence[Text], threshold: float = 0.8
) -> Iterator[Leak]:
  """Yields every training text that an evaluation text leaks into.

  A pair of texts is told of once. Parallel ids leak into every language; a
  training text is reported once per evaluation id, with the most similar text.

  Args:
    train: what is trained on; read once.
    evaluation: what is evaluated on.
    threshold: of the similarity, 0 to 1, from which on texts are
      near-duplicates.
  """
  from datasketch import MinHashLSH

  by_id, by_text = (collections.defaultdict(list) for _ in range(2))
  index = MinHashLSH(
      threshold=max(0.05, threshold - _SLACK), num_perm=_PERMUTATIONS
  )
  grams = [shingles(item.text) for item in evaluation]
  for number, item in enumerate(evaluation):
    by_id[item.id].append(number)
    by_text[normalise(item.text)].append(number)
    if grams[number]:
      index.insert(number, _minhash(grams[number]))
  for item in train:
    mine = shingles(item.text)
    near = index.query(_minhash(mine)) if mine else []
    found = (
        *(("id", n) for n in by_id.get(item.id, ())),
        *(("text", n) for n in by_text.get(normalise(item.text), ()) if mine),
        *(("near", n) for n in near if jaccard(mine, grams[n]) >= threshold),
    )
    best: dict[str, Leak] = {}
    for kind, number in found:
      other = evaluation[number]
      leak = Leak(
          kind, (item.id, item.lang), (other.id, other.lang),
          round(jaccard(mine, grams[number]), 4),
      )
      held = best.get(other.id)
      if held is None or (
          held.kind == kind and leak.similarity > held.similarity
      ):
        best[other.id] = leak
    yield from best.values()


def _minhash(grams: Iterable[str]):
  from datasketch import MinHash

  made = MinHash(num_perm=_PERMUTATIONS, hashfunc=_hash)
  made.update_batch([gram.encode() for gram in sorted(grams)])
  return made


def _hash(data: bytes) -> int:
  return int.from_bytes(hashlib.blake2b(data, digest_size=4).digest(), "little")
