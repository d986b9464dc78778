"""Recipes as data: every paper's row, counted by hand, and wrong ones."""

import collections
import json

import pytest

from mlit_jax.data import recipe_spec
from mlit_jax.data.counts import RecipeError
from mlit_jax.errors import UsageError

OTHERS = ["ar", "cs", "es", "et", "fi", "he", "hi", "it", "ru", "sw", "zh"]
PINCH = ["en", *OTHERS]
ALPACA = ["bg", "cs", "de", "en", "es", "fi", "fr", "ru", "zh"]


def _pool(languages, size, name="s"):
  return {c: [f"{name}/{n}" for n in range(size)] for c in languages}


def _make(*parts, pools, **more):
  return recipe_spec.make({"parts": list(parts), **more}, pools)


def _ids(manifest):
  found = collections.defaultdict(list)
  for row in manifest.rows:
    found[row.lang].append(row.id)
  return found


def test_pinch_one_percent():
  made = _make(
      {"source": "s", "design": "partition", "counts": {
          "rule": "percent", "languages": PINCH, "percent": 1, "total": 4640,
          "part": 40,
      }, "main": "en"},
      pools={"s": _pool(PINCH, 4640)},
  )
  counts = made.train.counts
  assert counts.pop("en") == 4600
  assert sorted(counts.values()) == [3] * 4 + [4] * 7
  assert len({row.id for row in made.train.rows}) == 4640
  assert not made.validation.rows


def test_pinch_six_languages_and_bilingual():
  six = ["en", "ar", "fi", "it", "ru", "sw"]
  made = _make(
      {"source": "s", "design": "partition",
       "counts": {"rule": "even", "languages": six, "total": 4640}},
      pools={"s": _pool(PINCH, 4640)},
  )
  # 4,640 is 6 x 773 + 2.
  assert made.train.counts == {
      "en": 774, "ar": 774, "fi": 773, "it": 773, "ru": 773, "sw": 773,
  }
  made = _make(
      {"source": "s", "design": "partition",
       "counts": {"rule": "even", "languages": ["he", "zh"], "total": 4640}},
      pools={"s": _pool(PINCH, 4640)},
  )
  assert made.train.counts == {"he": 2320, "zh": 2320}
  ids = _ids(made.train)
  assert not set(ids["he"]) & set(ids["zh"])


def test_lucky52_first_languages():
  order = ["en", "zh", "af", "ar"]
  pools = {"s": _pool(order, 670)}
  before = set()
  for k in range(1, 5):
    made = _make(
        {"source": "s", "design": "parallel", "counts": {
            "rule": "first", "languages": order, "number": k, "examples": 670,
        }},
        pools=pools,
    )
    assert made.train.counts == dict.fromkeys(sorted(order[:k]), 670)
    assert before < set(made.train.rows)
    before = set(made.train.rows)


def test_alpaca_budgets():
  pools = {"alpaca": _pool(ALPACA, 520)}
  part = {"source": "alpaca", "design": "parallel", "counts": {
      "rule": "each", "languages": ALPACA, "examples": 500,
  }}
  everything = _make(part, pools=pools, validation=20)
  assert everything.train.counts == dict.fromkeys(ALPACA, 500)
  assert everything.validation.counts == dict.fromkeys(ALPACA, 20)
  assert not {r.id for r in everything.train.rows} & {
      r.id for r in everything.validation.rows
  }
  down = _make(
      {"source": "alpaca", "design": "sampled", "languages": ALPACA,
       "total": 500},
      pools=pools, validation=20,
  )
  assert len(set(down.train.rows)) == 500
  assert len({r.id for r in down.train.rows}) < 500
  assert down.validation.rows == everything.validation.rows
  strict = _make(
      {"source": "alpaca", "design": "partition",
       "counts": {"rule": "even", "languages": ALPACA, "total": 500}},
      pools=pools,
  )
  assert len({r.id for r in strict.train.rows}) == 500
  # 500 is 9 x 55 + 5.
  assert sorted(strict.train.counts.values()) == [55] * 4 + [56] * 5


def test_polyglot_parallel_mixtures():
  pools = {"lima": _pool(["de", "en", "es", "fr", "it"], 1030)}
  for languages in (["en", "de", "fr", "it", "es"], ["de", "fr", "it", "es"]):
    made = _make(
        {"source": "lima", "design": "parallel", "counts": {
            "rule": "each", "languages": languages, "examples": 1030,
        }},
        pools=pools,
    )
    assert len(made.train.rows) == 1030 * len(languages)
    ids = _ids(made.train)
    assert all(ids[c] == ids[languages[0]] for c in languages)


def test_xllama_coit_is_three_parts():
  pools = {
      "alpaca": _pool(["en", "zh"], 52, "alpaca"),
      "translation-to": _pool(["zh"], 90, "wikimatrix"),
  }
  made = _make(
      {"source": "alpaca", "design": "parallel", "counts": {"en": 52}},
      {"source": "alpaca", "design": "parallel", "counts": {"zh": 52}},
      {"source": "translation-to", "design": "parallel", "counts": {"zh": 80}},
      pools=pools,
  )
  assert made.train.counts == {"en": 52, "zh": 132}
  assert len(made.train.rows) == 52 + 52 + 80
  kinds = collections.Counter(r.id.split("/")[0] for r in made.train.rows)
  assert kinds == {"alpaca": 104, "wikimatrix": 80}


def test_balanced_by_tokens_and_answered_in_english():
  recipe = {"seed": 3, "parts": [{
      "source": "s", "design": "token_balanced", "languages": ["en", "hi"],
      "budget": 2800, "cross": {"share": 0.25, "to": "en"},
  }]}
  lengths = {"en": 10, "hi": 35}
  made = recipe_spec.make(
      recipe, {"s": _pool(["en", "hi"], 400)},
      lambda source, id_, lang: lengths[lang],
  )
  assert made.train.counts == {"en": 140, "hi": 40}
  assert sum(bool(r.response_lang) for r in made.train.rows) == 10
  assert recipe_spec.languages(recipe) == {"s": ("en", "hi")}


def test_a_part_s_own_seed():
  part = {"source": "s", "design": "parallel", "counts": {"en": 20}}
  pools = {"s": _pool(["en"], 100)}
  zero, one = (_make({**part, "seed": n}, pools=pools).train for n in (0, 1))
  assert zero.rows != one.rows
  assert _make(part, pools=pools, seed=1).train.rows == one.rows


GOOD = {"source": "s", "design": "partition", "counts": {"en": 1}}


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({}, "a recipe needs 'parts'"),
        ({"parts": []}, "at least one part"),
        ({"parts": [GOOD], "sead": 1}, "did you mean 'seed'?"),
        ({"parts": [7]}, "a part must be an object"),
        ({"parts": [{**GOOD, "source": "t"}]}, "no source 't'; known: s"),
        ({"parts": [{**GOOD, "design": "partitoin"}]}, "mean 'partition'?"),
        ({"parts": [{**GOOD, "count": {}}]}, "did you mean 'counts'?"),
        ({"parts": [{"source": "s", "design": "parallel"}]}, "needs 'counts'"),
        ({"parts": [{**GOOD, "counts": {"en": 1.5}}]}, "whole number"),
        ({"parts": [{**GOOD, "counts": 5}]}, "'counts' must be an object"),
        ({"parts": [{**GOOD, "counts": {"rule": "evn"}}]}, "mean 'even'?"),
        ({"parts": [{**GOOD, "counts": {"rule": "even", "total": 1}}]},
         "rule 'even' needs 'languages'"),
        ({"parts": [{**GOOD, "counts": {
            "rule": "even", "languages": ["en"], "total": "x"}}]},
         "value of the wrong kind"),
        ({"parts": [{**GOOD, "counts": {"en": 11}}]},
         "part 1: en has 10 ids and 11 are needed: short by 1"),
        ({"parts": [{"source": "s", "design": "token_balanced",
                     "languages": ["en"], "budget": 5}]}, "tokenizer"),
        ({"parts": [{"source": "s", "design": "sampled", "total": 5}]},
         "design 'sampled' needs 'languages'"),
        ({"parts": [GOOD, GOOD]}, "stand in two parts"),
        ({"parts": [GOOD], "validation": 99}, "short by"),
    ],
)
def test_a_wrong_recipe(recipe, words):
  with pytest.raises(UsageError) as e:
    recipe_spec.make(recipe, {"s": _pool(["en"], 10)})
  assert words in str(e.value)


def test_recipes_come_from_files(tmp_path):
  path = tmp_path / "r.json"
  path.write_text(json.dumps({"parts": [GOOD]}))
  assert recipe_spec.read(path) == {"parts": [GOOD]}
  for text in ("[]", "{"):
    path.write_text(text)
    with pytest.raises(RecipeError, match="r.json"):
      recipe_spec.read(path)
  with pytest.raises(RecipeError, match="cannot be read"):
    recipe_spec.read(tmp_path / "none.json")
