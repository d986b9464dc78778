"""Answers to questions about a text, beyond the judge's word (xllama).

Zhu et al. (2023) let a judge decide on the first hundred questions and count
on all of them which answers hold the reference (appendix D, Table 6).
"""

import collections
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from mlit_jax import records
from mlit_jax.analysis import clusters as clusters_lib
from mlit_jax.evals import answer_matching
from mlit_jax.studies import estimates, material, pipeline, steps
from mlit_jax.studies.study import Place

FIRST = 100
# Language -> (question, 1 if the judge finds its answer right, else 0).
Right = Mapping[str, Sequence[tuple[str, float]]]
_Rates = dict[str, dict[str, Any]]
# Question -> what it is told from others by: those about one text are alike.
Clusters = Mapping[str, Hashable]


def clusters(prompts: Sequence[records.Instruction]) -> Clusters:
  """Puts the questions together that are about one text in some language."""
  about = collections.defaultdict(list)
  for p in prompts:
    about[p.lang, p.extra["context"]].append(p.id)
  return clusters_lib.joined(about.values())


def rate(
    rows: Iterable[tuple[str, float]], clusters: Clusters
) -> dict[str, Any]:
  """Mean in percent of (question, value), its interval clustered on texts."""
  return estimates.rate((clusters[id_], value) for id_, value in rows)


def matched(
    place: Place,
    system: str,
    prompts: Sequence[records.Instruction],
    texts: Clusters,
) -> dict[str, _Rates]:
  """How many answers are the reference, and how many hold it.

  Args:
    place: of the results' step.
    system: whose answers.
    prompts: the questions with their references, also of languages that the
      system was not asked in.
    texts: the questions' clusters.

  Returns:
    "exact" (by SQuAD's rules) and "contained" (in lower case) -> language ->
    rate in percent, with interval and n.
  """
  references = {(p.id, p.lang): p.response for p in prompts}
  path = place.of(pipeline.decoding(system, material.READING)) / steps.RESPONSES
  groups = collections.defaultdict(lambda: collections.defaultdict(list))
  for r in records.read_records(path, records.Response):
    right = [references[r.id, r.lang]]
    exact = answer_matching.exact_match(
        r.response, right, r.lang, answer_matching.squad
    )
    contained = answer_matching.contains(r.response, right)
    groups["exact"][r.lang].append((r.id, exact))
    groups["contained"][r.lang].append((r.id, contained))
  return {
      how: {lang: rate(rows, texts) for lang, rows in by_lang.items()}
      for how, by_lang in groups.items()
  }


def first(
    right: Right, prompts: Sequence[records.Instruction], texts: Clusters
) -> _Rates:
  """The judge's rates on the first hundred questions of each language.

  Args:
    right: of one system.
    prompts: the questions, in their order.
    texts: their clusters.

  Returns:
    Language -> rate; only languages with more questions than that.
  """
  order = collections.defaultdict(list)
  for p in prompts:
    order[p.lang].append(p.id)
  found = {}
  for lang, rows in right.items():
    if len(order[lang]) > FIRST:
      wanted = set(order[lang][:FIRST])
      found[lang] = rate((row for row in rows if row[0] in wanted), texts)
  return found


def carried_over(right: Right, main: str, texts: Clusters) -> _Rates:
  """Of the questions answered rightly in one language, how many in others?

  Args:
    right: of one system.
    main: the language that the others are held to.
    texts: the questions' clusters.

  Returns:
    Language -> rate over the questions that were right in `main` and judged in
    both; none for `main`, and none where it was not asked.
  """
  known = {id_ for id_, value in right.get(main, ()) if value}
  return {
      lang: rate((row for row in rows if row[0] in known), texts)
      for lang, rows in right.items() if lang != main and main in right
  }
