"""Back-translation: a sample of prompts, there and back, scored by chrF.

As Bactrian-X checked its translations (100 sentences a language). The score
compares services on the same sample; it is no measure of quality in itself,
as a copy of the source scores 100: the flag `untranslated` tells.
"""

import collections
import hashlib
from collections.abc import Iterable, Iterator, Sequence

from mlit_jax import cache as cache_lib
from mlit_jax import records
from mlit_jax.translation import backends, rows, segments, translator


class Sample:
  """The same rows in every run and for every language."""

  def __init__(self, items: Sequence[rows.Item], size: int):
    """Chooses by the ids' hashes; `size` 0 samples nothing."""
    ranked = sorted(
        items, key=lambda x: hashlib.sha256(x.row.id.encode()).digest()
    )
    self._originals = {item.row.id: item.row for item in ranked[:size]}
    self._translated = collections.defaultdict(list)

  def through(
      self, finished: Iterable[records.Instruction]
  ) -> Iterator[records.Instruction]:
    """Lets rows through and keeps the sampled ones."""
    for row in finished:
      if row.id in self._originals:
        self._translated[row.lang].append(row)
      yield row

  def jobs(
      self, lang: str, backend: backends.Backend
  ) -> Iterator[translator.Job]:
    """The sampled prompts of a language, back into their source's."""
    for item, source in self._items(lang, backend):
      yield from rows.jobs([item], [source], backend)

  def score(
      self, lang: str, backend: backends.Backend, store: cache_lib.Cache
  ) -> dict:
    """Corpus chrF2 (Popović, 2015) of what came back, 0 to 100."""
    find = rows.from_store(backend, store, {})
    originals, backs = [], []
    for item, source in self._items(lang, backend):
      try:
        back = find(item, source)[0]
      except rows.MissingError:
        continue
      originals.append(self._originals[item.row.id].prompt)
      backs.append(back)
    if not backs:
      return {"n": 0, "chrf": None}
    from sacrebleu.metrics import CHRF

    metric = CHRF()
    result = metric.corpus_score(backs, [originals])
    return {
        "n": len(backs),
        "chrf": round(result.score, 2),
        "signature": str(metric.get_signature()),
    }

  def _items(
      self, lang: str, backend: backends.Backend
  ) -> Iterator[tuple[rows.Item, str]]:
    for row in self._translated[lang]:
      prompt = records.Instruction(row.id, row.lang, row.messages[-1:])
      text = segments.parse(row.prompt, backend.max_length)
      yield rows.Item(prompt, (text,)), self._originals[row.id].lang

