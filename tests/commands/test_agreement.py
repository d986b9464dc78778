"""`mlit agreement`, on the alpaca paper's Table 3 and on hand-made ratings."""

import json

import pytest

from mlit_jax import main
from mlit_jax.analysis import agreement

# Chen et al. 2024, Table 3 of the submission: GPT-3.5's and people's sums over
# 50 prompts, of 12 systems.
TABLE_3 = {
    "en": "95.5 93.0 115.5 105.0 113.0 119.5 138.0 131.5 133.0 130.0 120.5"
          " 117.0 89.0 81.0 112.5 103.5 122.0 111.5 133.5 121.0 122.0 124.0"
          " 115.0 116.0",
    "es": "102.0 98.0 110.0 103.5 122.0 116.5 140.5 123.0 122.0 112.5 119.0"
          " 107.5 92.5 86.0 106.0 99.5 116.5 111.5 127.0 115.0 113.5 108.0"
          " 100.5 97.5",
    "bg": "58.5 54.5 83.0 59.0 90.5 67.0 119.5 112.0 110.0 89.0 99.5 75.0 53.0"
          " 49.0 71.0 64.0 79.5 73.5 120.5 117.5 105.5 87.0 87.0 72.5",
    "zh": "89.5 97.5 104.0 102.0 119.5 117.5 95.0 89.0 80.0 67.5 98.5 87.5 82.0"
          " 75.5 111.5 96.0 105.0 106.0 118.5 96.5 79.5 66.5 80.0 72.0",
}
SAID = {"en": 0.9225, "es": 0.9683, "bg": 0.9205, "zh": 0.8685}


def _table_3():
  lines = ["system,lang,human,judge"]
  for lang, numbers in TABLE_3.items():
    values = numbers.split()
    for i in range(12):
      lines.append(f"s{i},{lang},{values[2 * i + 1]},{values[2 * i]}")
  return "\n".join(lines)


def test_the_papers_four_correlations(tmp_path, capsys):
  path, out = tmp_path / "ratings.csv", tmp_path / "out.json"
  path.write_text(_table_3())
  assert main.main(["agreement", str(path), "--json", str(out)]) == 0
  found = json.loads(out.read_text())
  for lang, r in SAID.items():
    pearson = found[lang]["systems"]["pearson"]
    assert round(pearson["value"], 4) == r
    assert pearson["n"] == 12
    low, high = pearson["ci"]
    assert low < r < high
    assert "items" not in found[lang]
  assert "  pearson          0.9225   95% [" in capsys.readouterr().out


def test_ranks_by_hand():
  # Ranks 1 2 3 4 against 2 1 4 3: squared differences sum to 4, so Spearman is
  # 1 - 6 * 4 / (4 * 15) = 0.6; 4 pairs agree and 2 do not: tau = 2 / 6.
  rows = [
      agreement.Rating(f"s{i}", "en", h, j)
      for i, (h, j) in enumerate([(1, 2), (2, 1), (3, 4), (4, 3)])
  ]
  found = agreement.summarise(rows)["en"]["systems"]
  assert found["spearman"]["value"] == pytest.approx(0.6)
  assert found["kendall"]["value"] == pytest.approx(1 / 3, abs=1e-6)
  assert found["kendall"]["ci"] == [-1, 1]  # four systems say nothing


def test_kappa_by_hand():
  # Cohen's own kind of table: 20 and 15 agree, 5 and 10 do not, of 50. Both
  # agree in 0.7; by chance 25/50 * 30/50 + 25/50 * 20/50 = 0.5.
  a = [1] * 20 + [1] * 5 + [2] * 10 + [2] * 15
  b = [1] * 20 + [2] * 5 + [1] * 10 + [2] * 15
  assert agreement.cohens_kappa(a, b) == pytest.approx(0.4)
  # Quadratic: one of three ratings two apart. Costs 4 of 3 pairs; by chance
  # (1*0 + 1*1 + 1*4 + ...) over all nine pairs of a = b's margins.
  a, b = [1, 2, 3], [1, 2, 1]
  cost = sum((x - y) ** 2 for x in a for y in b) / 3
  assert agreement.cohens_kappa(a, b, weighted=True) == pytest.approx(
      1 - 4 / cost
  )
  assert agreement.cohens_kappa([2, 2], [2, 2]) is None


def test_single_ratings():
  rows = [
      agreement.Rating(f"s{s}", "he", human, judge, f"i{i}")
      for s in range(3)
      for i, (human, judge) in enumerate(
          [(1, 1), (2, 2), (3, 3), (3, 2), (1, 1), (2, 2), (1, 2), (3, 3)]
      )
  ]
  found = agreement.summarise(rows)["he"]
  assert found["items"]["agreement"]["value"] == 0.75
  low, high = found["items"]["agreement"]["ci"]
  assert 0.3 < low < 0.75 < high <= 1
  assert found["items"]["kappa"]["n"] == 24
  assert found["items"]["weighted_kappa"]["value"] > (
      found["items"]["kappa"]["value"]
  )
  # All systems have the same total: no correlation of totals.
  assert found["systems"]["pearson"] is None
  # Krippendorff (2011), interval data, by hand: two raters, two units, ratings
  # (1, 1) and (2, 3): observed 2 * 1 / 4; expected over all ordered pairs of
  # {1, 1, 2, 3}: 2 * (0 + 1 + 4 + 1 + 4 + 1) / 12.
  rows = [
      agreement.Rating("a", "en", 1, 1, "i"), agreement.Rating(
          "a", "en", 2, 3, "j"
      ),
  ]
  alpha = agreement.summarise(rows)["en"]["items"]["alpha"]["value"]
  assert alpha == pytest.approx(1 - (2 / 4) / (22 / 12))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no column 'system'"),
        ("system,lang,human\nx,en,1", "no column 'judge'"),
        ("system,lang,human,judge\n", "there are no ratings"),
        ("system,lang,human,judge\nx,en,good,1", "line 2: human='good'"),
        ("system,lang,human,judge\nx,en,1", "line 2: judge=None"),
        ("system,lang,human,judge\nx,en,nan,1", "line 2: human='nan'"),
        ("system,lang,human,judge\n,en,1,1", "line 2: system and lang"),
        ("system,lang,human,judge\nx,en,1,1\nx,en,2,2", "in line 2 already"),
        ("system,lang,human,judge,item\nx,en,1,1,", "line 2: no item"),
        ("system,lang,human,judge\nx,en,2,5,3,0", "line 2: 6 cells under 4"),
        ("system,lang,human,human,judge\nx,en,1,2,3", "two columns of one"),
        ("system,lang,human,judge\nx,en,1e200,1", "line 2: human='1e200'"),
        ("system,lang,human,judge\n" + "x" * 200_000 + ",en,1,1",
         "after line 1: field larger"),
    ],
)
def test_bad_ratings_are_named_by_line(text, words, tmp_path, capsys):
  path = tmp_path / "bad.csv"
  path.write_text(text)
  assert main.main(["agreement", str(path)]) == 2
  error = capsys.readouterr().err
  assert words in error
  assert error.count("\n") == 1
