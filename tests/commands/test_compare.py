"""Many systems beside each other, from files of judgments."""

import dataclasses
import json
import random

import pytest

from mlit_jax import main, records

STRENGTH = {"good": 0.9, "fair": 0.5, "poor": 0.1}
LANGS = ("en", "he")


def _judgment(id_, lang, a, b="", order="ab", **about):
  protocol = "side_by_side" if b else "mt_bench"
  return records.Judgment(
      str(id_), lang, protocol, "j", a, b, order, "", **about
  )


def _duel(a, b, number=40, seed=0):
  """Judgments of a against b; the better one wins more often."""
  rng = random.Random(f"{a}{b}{seed}")
  rows = []
  for i in range(number):
    for lang in LANGS:
      p = (1 + STRENGTH[a] - STRENGTH[b]) / 2
      verdict = "a" if rng.random() < p else "b"
      rows += [_judgment(i, lang, a, b, order, verdict=verdict)
               for order in ("ab", "ba")]
  return rows


@pytest.fixture
def write(tmp_path):
  def write(*lists):
    paths = []
    for i, rows in enumerate(lists):
      paths.append(str(tmp_path / f"{i}.jsonl"))
      records.write_records(paths[-1], rows)
    return paths

  return write


@pytest.fixture
def compare(tmp_path, capsys):
  def compare(*paths):
    out = tmp_path / "out.json"
    out.unlink(missing_ok=True)
    code = main.main(["compare", *paths, "--json", str(out)])
    said = capsys.readouterr()
    if code:
      assert not out.exists() and said.err.count("\n") == 1
      return code, said.err
    return json.loads(out.read_text()), said.out

  return compare


def test_systems_that_met_each_other(write, compare):
  files = write(_duel("good", "fair"), _duel("fair", "poor"),
                _duel("poor", "good"))
  found, said = compare(*files)
  overall = found["strengths"]["overall"]
  order = sorted(overall, key=lambda name: -overall[name]["strength"])
  assert order == ["good", "fair", "poor"]
  assert set(found["strengths"]) == {"en", "he", "overall"}
  direct = {
      (r["a"], r["b"]): r for r in found["differences"]
      if r["lang"] == "overall" and not r["against"]
  }
  row = direct["poor", "good"]
  assert row["difference"] < -60 and row["p"] == 0.0001 and row["n"] == 80
  assert row["clusters"] == 40
  # Three direct ones, and three by way of the third system.
  assert row["p_holm"] >= row["p"] and len(direct) == 3
  assert len([r for r in found["differences"] if r["lang"] == "overall"]) == 6
  # 2 * score - 100 of the very pair.
  cell = found["matrix"]["good"]["overall"]
  assert cell["n"] == 160 and 60 < cell["score"] < 100
  assert "strength (Bradley-Terry" in said and "poor less good" in said


def test_a_matrix_of_if_l(write, compare):
  # Each language's model is the opponent there, as in pinch's heat map.
  rows = {"en": [], "he": []}
  for lang in LANGS:
    for i in range(10):
      for order in ("ab", "ba"):
        rows[lang].append(_judgment(
            i, lang, "x", f"mono-{lang}", order,
            verdict="a" if i < (3 if lang == "en" else 6) else "b",
        ))
  found, said = compare(*write(rows["en"], rows["he"]))
  cells = found["matrix"]["x"]
  assert [cells[c]["score"] for c in ("en", "he", "overall")] == [30, 60, 45]
  assert found["matrix"]["mono-he"]["en"] == {
      "score": None, "ci": [None, None], "n": 0
  }
  assert "  –" in said


def test_scores_on_the_same_questions(write, compare):
  def scored(system, better):
    return [
        _judgment(i, lang, system, score=5.0 + better + i % 3)
        for i in range(20) for lang in LANGS
    ]

  found, said = compare(*write(
      scored("a", 0), [*scored("b", 1), _judgment(99, "en", "b", score=1.0)],
      scored("c", 0),
  ))
  rows = {(r["a"], r["b"]): r for r in found["differences"]
          if r["lang"] == "overall"}
  assert rows["a", "b"]["difference"] == -1 and rows["a", "b"]["n"] == 40
  assert rows["a", "b"]["p_holm"] == pytest.approx(0.0003)
  assert rows["a", "c"]["p"] == rows["a", "c"]["p_holm"] == 1
  assert "strengths" not in found and "Bradley" not in said
  assert found["matrix"]["b"]["en"]["n"] == 21


def test_exchanging_the_systems_mirrors_it(write, compare):
  rows = _duel("good", "fair")
  other = {"a": "b", "b": "a"}
  swapped = [
      _judgment(
          j.id, j.lang, "fair", "good", j.order[::-1], verdict=other[j.verdict]
      ) for j in rows
  ]
  one, _ = compare(*write(rows))
  two, _ = compare(*write(swapped))
  assert one["matrix"] == two["matrix"]
  assert one["strengths"] == two["strengths"]
  for x, y in zip(one["differences"], two["differences"], strict=True):
    assert x["difference"] == -y["difference"] and x["p"] == y["p"]


def test_no_common_scale(write, compare, monkeypatch):
  for name in "xy":
    monkeypatch.setitem(STRENGTH, name, 0.5)
  found, said = compare(*write(_duel("good", "poor"), _duel("x", "y")))
  assert found["strengths"]["overall"] is None
  assert "no strengths: some systems were never compared" in said


def test_fastchats_judgments(tmp_path, compare, capsys):
  rows = [
      {"question_id": i, "model": model, "judge": ["gpt-4", "single-v1"],
       "user_prompt": "", "judgment": f"[[{score}]]", "score": score,
       "turn": turn, "tstamp": 0.0}
      for i in range(81, 89) for turn in (1, 2)
      for model, score in (("x", 5 + i % 3), ("y", 7 + i % 2))
  ]
  path = tmp_path / "gpt-4_single.jsonl"
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  assert compare(str(path))[0] == 2
  assert compare(str(path), "--lang", "xx")[0] == 2
  found, said = compare(str(path), "--lang", "de")
  assert found["matrix"]["y"]["de"] == found["matrix"]["y"]["overall"]
  assert found["matrix"]["y"]["de"]["score"] == 7.5
  (row,) = [r for r in found["differences"] if r["lang"] == "overall"]
  assert (row["a"], row["b"], row["n"], row["clusters"]) == ("x", "y", 16, 8)
  assert "mt_bench by gpt-4" in said


def test_all_that_failed_leaves_nothing_to_say(write, compare):
  rows = [_judgment(0, "en", "a", failure="unparsable")]
  found, said = compare(*write(rows))
  assert found["matrix"]["a"]["overall"]["score"] is None
  assert found["differences"] == [] and "1 of them failed" in said


def test_what_does_not_belong_together_is_refused(write, compare):
  one = [_judgment(0, "en", "a", score=1.0)]
  pair = _duel("good", "poor", 2)
  assert "mt_bench by j, side_by_side by j" in compare(*write(one, pair))[1]
  assert "not exactly one judgment in each order" in compare(
      *write(pair[:-1])
  )[1]
  assert "not exactly one judgment" in compare(*write(pair, pair))[1]
  other = _duel("poor", "good", 2)
  assert "has both orders already" in compare(*write(pair, other))[1]
  assert "two judgments of 0 en" in compare(*write(one, one))[1]
  assert "there are no judgments" in compare(*write([]))[1]
  assert "given twice" in compare(*write(one) * 2)[1]
  for score in (11.0, -1e300):
    odd = [_judgment(0, "en", "a", score=score)]
    assert f"0 en: score {score} is not from 1 to 10" in (
        compare(*write(odd))[1]
    )
  odd = [_judgment(0, "en", "a", verdict="a")]
  assert "0 en: score None is not" in compare(*write(odd))[1]
  odd = [dataclasses.replace(one[0], protocol="mine")]
  assert "no protocol 'mine' scores one system" in compare(*write(odd))[1]
  assert compare("nothing.jsonl")[0] == 1
