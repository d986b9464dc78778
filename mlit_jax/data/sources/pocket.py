"""The pocket world as a source: instructions, and running text."""

import random
from collections.abc import Mapping, Sequence

from mlit_jax import records
from mlit_jax.data import counts as counts_lib
from mlit_jax.data.pocket import items, text
from mlit_jax.data.pocket import world as world_lib


def pocket_instructions(
    languages: Sequence[str], split: str
) -> dict[tuple[str, str], records.Instruction]:
  """The pocket world's examples of a split, by (id, language).

  Args:
    languages: codes of the pocket world.
    split: `train` or `eval`.
  """
  found = {}
  for code in languages:
    language = world_lib.load_language(code)
    for item in items.split()[split]:
      prompt, response = items.render(language, item)
      found[item.id, code] = records.Instruction(
          id=item.id,
          lang=code,
          messages=(records.Message("user", prompt),),
          response=response,
          extra={"task": item.task},
      )
  return found


def pocket_documents(
    shares: Mapping[str, float], total: int, seed: int
) -> list[text.Sentence]:
  """Running text of the pocket world: the base model's pre-training.

  Every document is about one entity or is a list of words; both say what they
  say twice, because text that repeats itself is what models learn to copy
  from.

  Args:
    shares: language -> share of the documents, as counts.split_by_share
      takes them.
    total: number of documents.
    seed: draws them.

  Returns:
    Documents with ids, in a seeded order.

  Raises:
    RecipeError: a share is negative or all are zero.
  """
  documents = []
  for code, count in counts_lib.split_by_share(total, shares).items():
    rng = random.Random(f"documents:{seed}:{code}")
    language = world_lib.load_language(code)
    about = text.facts_about(code)
    entities = sorted(about)
    for number in range(count):
      if rng.random() < text.LIST_SHARE:
        body = text.word_list(language, rng)
      else:
        body = text.paragraph(language, about[rng.choice(entities)], rng)
      documents.append(text.Sentence(f"document/{code}/{number}", body))
  random.Random(f"documents:{seed}").shuffle(documents)
  return documents
