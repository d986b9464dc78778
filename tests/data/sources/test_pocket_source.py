"""Sources: the pocket world as instructions and as running text."""

import collections

import pytest

from mlit_jax.data import recipes, sources
from mlit_jax.data.pocket import items, world
from mlit_jax.records import Message


def test_instructions_are_by_id_and_language():
  found = sources.pocket_instructions(("en", "fi"), "eval")
  assert len(found) == 120
  train = sources.pocket_instructions(("en",), "train")
  assert set(train) == {(i.id, "en") for i in items.split()["train"]}
  row = train["opposite/big-small/1", "en"]
  assert (row.id, row.lang) == ("opposite/big-small/1", "en")
  assert row.messages == (
      Message("user", "Which word is the opposite of “big”?"),
  )
  assert row.response == "The opposite of “big” is “small”."
  assert row.extra == {"task": "opposite"}
  finnish = {i for i, lang in found if lang == "fi"}
  assert finnish == {i for i, lang in found if lang == "en"}


def _languages(documents):
  return collections.Counter(d.id.split("/")[1] for d in documents)


def test_documents_have_exact_counts_per_language():
  assert _languages(
      sources.pocket_documents({"en": 1, "fi": 1, "zh": 1}, 100, seed=0)
  ) == {"en": 34, "fi": 33, "zh": 33}
  assert _languages(
      sources.pocket_documents({"en": 7, "fi": 2, "zh": 0}, 9, seed=0)
  ) == {"en": 7, "fi": 2}


def test_documents_are_seeded():
  shares = {"en": 2, "he": 1}
  first = sources.pocket_documents(shares, 60, seed=0)
  assert sources.pocket_documents(shares, 60, seed=0) == first
  other = sources.pocket_documents(shares, 60, seed=1)
  assert {d.text for d in other} != {d.text for d in first}
  assert [d.id for d in other] != [d.id for d in first]
  assert len({d.id for d in first}) == 60
  # A language's documents do not depend on the other languages' shares.
  alone = sources.pocket_documents({"he": 1}, 20, seed=0)
  assert set(alone) == {d for d in first if d.id.split("/")[1] == "he"}


def test_documents_are_statements_about_one_thing_or_lists_said_twice():
  lists = 0
  for document in sources.pocket_documents({"en": 1}, 400, seed=0):
    if "\n" not in document.text:
      assert document.text.endswith(".")
      continue
    lists += 1
    first, second = (
        line.lower().split(", ") for line in document.text.split("\n")
    )
    assert second in (first, first[::-1])
    assert 3 <= len(first) <= 5
  assert 80 < lists < 160  # 30 % of 400


def test_errors():
  with pytest.raises(recipes.RecipeError, match=r"all zero; they are \{\}"):
    sources.pocket_documents({}, 9, seed=0)
  with pytest.raises(recipes.RecipeError, match="must not be negative"):
    sources.pocket_documents({"en": 1, "fi": -1}, 9, seed=0)
  with pytest.raises(world.PocketError, match="no language 'de'; it has ar cs"):
    sources.pocket_instructions(("de",), "eval")
