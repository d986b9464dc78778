"""Leakage: by id, by text, by similarity; nothing found where nothing is."""

import random

import pytest

from mlit_jax.data import leakage
from mlit_jax.data.leakage import Text

FRANCE = "What is the capital of France, and how many people live there?"


def _find(train, evaluation, threshold=0.8):
  return list(leakage.find(train, evaluation, threshold))


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("What IS the  capital of France and how many people live there",
         FRANCE),
        ("ﬁne ２ go", "Fine 2, go!"),
        ("¿Cuál es?", "cuál es"),
        ("Straße", "STRASSE"),
        ("法国的首都是哪里?", "法国 的 首都 是 哪里？"),
    ],
)
def test_texts_that_are_the_same(text, same):
  (leak,) = _find([Text("t", "en", text)], [Text("e", "en", same)])
  assert (leak.kind, leak.similarity) == ("text", 1.0)
  assert (leak.train, leak.evaluation) == (("t", "en"), ("e", "en"))


@pytest.mark.parametrize(
    ("text", "other"), [("cuál", "cual"), ("ספר", "סופר"), ("5 + 3", "5 + 4")]
)
def test_texts_that_differ_in_a_letter_are_not_the_same(text, other):
  assert not _find([Text("t", "en", text)], [Text("e", "en", other)])


def test_a_parallel_id_leaks_whatever_its_language():
  (leak,) = _find([Text("q/1", "he", "מהי בירת צרפת?")],
                  [Text("q/1", "en", FRANCE), Text("q/2", "en", "Other?")])
  assert leak.kind == "id"
  assert leak.train == ("q/1", "he")
  assert leak.evaluation == ("q/1", "en")
  assert leak.similarity == 0.0


def test_similarity_is_the_jaccard_of_five_character_shingles():
  # abcdefgh and abcdefgx: abcde bcdef cdefg + defgh or defgx; 3 of 5.
  assert leakage.jaccard(
      leakage.shingles("abc def gh"), leakage.shingles("ABCDEFGX")
  ) == pytest.approx(3 / 5)
  assert leakage.shingles("ab c") == {"abc"}
  assert leakage.shingles("?!") == frozenset()
  # 59 shingles or so, of which the change of one word takes eight.
  train = [Text("t", "en", FRANCE.replace("live", "work"))]
  (leak,) = _find(train, [Text("e", "en", FRANCE)], 0.6)
  assert leak.kind == "near"
  mine, theirs = (leakage.shingles(t.text) for t in (
      train[0], Text("e", "en", FRANCE)))
  exact = len(mine & theirs) / len(mine | theirs)
  assert leak.similarity == round(exact, 4) and 0.6 < exact < 0.8
  assert not _find(train, [Text("e", "en", FRANCE)], 0.8)


def test_nearly_all_near_duplicates_are_found_and_nothing_else():
  rng = random.Random(0)
  words = [f"{rng.randrange(10**6):x}word" for _ in range(2000)]
  texts = [" ".join(rng.choices(words, k=40)) for _ in range(300)]
  evaluation = [Text(f"e{n}", "en", t) for n, t in enumerate(texts[:100])]
  # One word of forty changed: about 0.85 of the shingles stay.
  train = [
      Text(f"t{n}", "en", " ".join([*t.split()[:-1], "different"]))
      for n, t in enumerate(texts)
  ]
  leaks = _find(train, evaluation, 0.8)
  assert {(x.train[0][1:], x.evaluation[0][1:]) for x in leaks} <= {
      (str(n), str(n)) for n in range(100)
  }
  assert len(leaks) >= 98


def test_empty_prompts_leak_nothing():
  assert not _find([Text("t", "en", ""), Text("u", "en", "?")],
                   [Text("e", "en", "…")])


def test_one_leak_per_evaluation_id():
  evaluation = [Text("q", "en", FRANCE), Text("q", "es", FRANCE + " Sí")]
  (leak,) = _find([Text("t", "en", FRANCE + " Sí.")], evaluation)
  assert leak.kind == "text" and leak.evaluation == ("q", "es")
