"""The report: its tables hold the numbers, and answers stay text."""

import csv
import html.parser
import itertools
import json
import re
import subprocess
import sys

import pytest

from mlit_jax import records
from mlit_jax.studies.report import (
    browser,
    charts,
    packing,
    page,
    reading,
    rendering,
    sections,
)

FEW = ("en", "he", "sw")


class Page(html.parser.HTMLParser):
  """What a browser finds in the page: elements, scripts, visible text."""

  def __init__(self, path):
    super().__init__()
    self.elements, self.scripts, self.text = [], [], ""
    self._script = None
    self.source = path.read_text(encoding="utf-8")
    self.feed(self.source)
    self.close()

  def handle_starttag(self, tag, attrs):
    self.elements.append((tag, dict(attrs)))
    if tag == "script":
      self._script = [dict(attrs), ""]

  def handle_endtag(self, tag):
    if tag == "script":
      self.scripts.append(self._script)
      self._script = None

  def handle_data(self, data):
    if self._script is None:
      self.text += data
    else:
      self._script[1] += data

  def block(self, name):
    (text,) = [t for attrs, t in self.scripts if attrs.get("id") == name]
    if name == "answers-index":
      return json.loads(text)
    return packing.unpack(text)

  def find(self, tag, **attrs):
    return [
        found for name, found in self.elements
        if name == tag and attrs.items() <= found.items()
    ]


def _table(directory, name):
  with open(directory / "tables" / f"{name}.csv", newline="") as file:
    return list(csv.DictReader(file))


def _study(make_study, change=None, **options):
  return reading.read(make_study(change, **options))


@pytest.mark.long
def test_files_are_written_and_nothing_is_left_over(make_study):
  directory = make_study()
  assert page.write_report(directory) == directory / "report.html"
  found = {
      str(path.relative_to(directory))
      for path in directory.rglob("*") if path.is_file()
  }
  tables = (
      "heat_map curve base_and_control exact_match exact_match_by_task"
      " language_consistency counts"
  ).split()
  figures = "heat_map percent_curve base_and_control".split()
  assert found == {
      "results.json", "answers.jsonl", "judgments.jsonl", "report.html",
      *(f"tables/{name}.{end}" for name in tables for end in ("csv", "tex")),
      *(
          f"figures/{name}.{end}" for name in figures
          for end in ("png", "pdf", "svg")
      ),
  }
  linked = {a["href"] for a in Page(directory / "report.html").find("a")}
  assert {x for x in linked if not x.startswith("#")} == found - {"report.html"}


def test_equal_results_give_equal_bytes(make_study):
  first, second = make_study(codes=FEW), make_study(name="other", codes=FEW)
  for directory in (first, second):
    page.write_report(directory)
  for path in first.rglob("*"):
    if path.is_file():
      assert path.read_bytes() == (
          second / path.relative_to(first)
      ).read_bytes(), path.name


def test_tables_hold_the_numbers_of_the_results(make_study):
  def lose(study):
    study["heat_map"]["mono-en"]["he"] |= {
        "score": None, "ci": [None, None], "n": 0, "flip_rate": None,
        "win": 0, "tie": 0, "loss": 0, "failed": 60,
    }

  directory = make_study(lose)
  page.write_report(directory)
  study = json.loads((directory / "results.json").read_text())
  rows = {(r["trained_on"], r["evaluated_on"]): r
          for r in _table(directory, "heat_map")}
  assert len(rows) == 132
  for (row, column), read in rows.items():
    cell = study["heat_map"][f"mono-{row}"][column]
    low, high = cell["ci"]
    expected = [cell["score"], low, high, *(
        cell[key] for key in ("n", "win", "tie", "loss", "flip_rate")
    )]
    assert list(read.values())[2:] == [
        "" if x is None else str(x) for x in expected
    ]
  assert rows["en", "he"]["score"] == ""

  curve = {(r["percent"], r["evaluated_on"]): r
           for r in _table(directory, "curve")}
  assert curve["0", "english"]["score"] == "50.0"
  assert curve["0", "en"]["score"] == ""
  point = study["curve"][2]
  assert curve["10", "sw"]["score"] == str(point["languages"]["sw"]["score"])
  assert curve["10", "others"]["ci_low"] == str(point["others"]["ci"][0])

  # From the side of the base, so wins and losses change places.
  base = _table(directory, "base_and_control")[0]
  ours = study["against_base"]["ar"]
  assert (base["system"], base["against"]) == ("base", "mono-ar")
  assert float(base["score"]) == pytest.approx(100 - ours["score"], abs=1e-6)
  assert float(base["ci_low"]) == pytest.approx(100 - ours["ci"][1], abs=1e-6)
  assert (base["win"], base["loss"]) == (str(ours["loss"]), str(ours["win"]))

  exact = {(r["system"], r["evaluated_on"]): r
           for r in _table(directory, "exact_match")}
  assert exact["control-he", "he"]["rate"] == str(
      study["exact_match"]["control-he"]["he"]["value"]
  )
  assert ("control-he", "en") not in exact
  counts = {(r["system"], r["language"]): int(r["count"])
            for r in _table(directory, "counts")}
  assert sum(n for (name, _), n in counts.items() if name == "p1") == 1280
  assert counts["p1", "en"] == 1267


def test_each_column_has_its_own_scale_and_no_diagonal(make_study):
  grid = sections.heat_map(_study(make_study))
  models = grid.rows[:12]
  for j in range(12):
    column = [row.cells[j] for row in models]
    assert [c.text for c in column].index("–") == j
    known = [c for c in column if c.shade is not None]
    scores = [float(c.text) for c in known]
    shades = [c.shade for c in known]
    assert (min(shades), max(shades)) == (0, 1)
    # The order of the shades is that of the scores.
    for (s, t), (u, v) in itertools.combinations(zip(scores, shades), 2):
      assert s == u or (s < u) == (t < v)
  average = sum(float(c.text) for c in models[3].cells if c.detail)
  assert float(models[3].cells[-1].text) == pytest.approx(average / 11, abs=0.1)
  assert grid.rows[12].label == "Untuned base"


def test_page_loads_nothing_and_runs_one_script(make_study):
  found = Page(page.write_report(make_study()))
  assert not re.search(r"https?:|//[a-z]", found.source)
  for tag, attrs in found.elements:
    assert not attrs.keys() & {"src", "srcset", "action", "background"}, tag
    assert not any(name.startswith("on") for name in attrs), tag
    assert tag not in ("img", "iframe", "object", "base", "b")
  (icon,) = found.find("link")
  assert icon["href"] == "data:,"
  kinds = [attrs.get("type") for attrs, _ in found.scripts]
  assert kinds[0] == "application/json" and kinds[-1] is None
  assert set(kinds[1:-1]) == {"text/plain"}  # which no browser runs
  (policy,) = found.find("meta", **{"http-equiv": "Content-Security-Policy"})
  assert policy["content"].startswith("default-src 'none'")
  assert rendering._hash(found.scripts[-1][1]) in policy["content"]


def test_hostile_answers_stay_text(make_study):
  directory = make_study(codes=FEW)
  found = Page(page.write_report(directory))
  assert "alert" not in found.text
  assert not any("alert" in text for _, text in found.scripts)
  names = [name for name, _ in found.block("answers-index")["systems"]]
  written = [row for _, row in records.read_jsonl(directory / "answers.jsonl")]
  for code in FEW:
    expected = [row for row in written if row["lang"] == code]
    assert found.block(f"q-{code}") == [
        [row["id"], row["prompt"], row["reference"]] for row in expected
    ]
    for i, name in enumerate(names):
      given = [row["answers"].get(name) for row in expected]
      if not any(given):
        assert not found.find("script", id=f"a-{code}-{i}")
        continue
      assert found.block(f"a-{code}-{i}") == [
          [a["text"], a["found"], int(a["exact"])] if a else None
          for a in given
      ]
  index = found.block("answers-index")["languages"]
  assert index["he"]["dir"] == "rtl" and index["sw"]["dir"] == "ltr"
  assert {"lang": "he"}.items() <= found.find("bdi")[1].items()


def test_words_of_the_results_are_escaped(make_study):
  def change(study):
    study["judge"]["note"] = "<script>alert(1)</script>"
    study["preset"] = "\"><img src=x>"

  found = Page(page.write_report(make_study(change, codes=FEW)))
  assert "<script>alert(1)</script>" in found.text
  assert not found.find("img")


def test_embedded_json_cannot_end_its_element():
  value = ["</script><!--<script>", "\u2028", "\"'&"]
  text = packing.embed(value)
  assert "<" not in text
  assert json.loads(text) == value
  assert re.fullmatch(r"[A-Za-z0-9_=-]+", packing.pack(value))
  assert packing.unpack(packing.pack(value)) == value


def test_both_orders_and_their_words_are_in_the_page(make_study):
  found = Page(page.write_report(make_study(codes=FEW)))
  names = [name for name, _ in found.block("answers-index")["systems"]]
  en, he = names.index("mono-en"), names.index("mono-he")
  assert en < he
  # In Hebrew mono-en was judged against mono-he, in English the reverse: the
  # winner is `a` where the system that comes first on the page won.
  for lang, first, won in (("he", "ab", "ab"), ("en", "ba", "ba")):
    rows = found.block(f"j-{lang}-{en}-{he}")
    assert len(rows) == 7
    ((asked, turn, replies),) = rows[0]
    assert (asked, turn) == ("side_by_side, judge reference", 1)
    assert [reply[:3] for reply in replies] == [
        [first[0], won[0], ""], [first[1], won[0], ""]
    ]
    assert replies[1][3] == "ba: <script>alert(1)</script> a"
    ((_, _, failed),) = rows[4]
    assert failed[1][1:3] == ["", "unparsable"]
  ((asked, _, ((first, score, failure, words),)), *_) = found.block(
      f"j-en-{en}"
  )[0]
  assert (first, score, failure, words) == ("", 3.0, "", "Rating: [[3.0]]")


def test_without_room_verdicts_stay_and_words_go(make_study):
  directory = make_study(codes=FEW)
  names = {"base": "base", "mono-en": "English", "mono-he": "Hebrew"}
  whole, cut = (
      browser.build(directory, FEW, names, {}, "base", room)
      for room in (10**6, 0)
  )
  assert whole.num_cut == 0 < cut.num_cut
  # Room for one and a half: the second goes without.
  sizes = [len(x) for id_, x in whole.blocks if id_.startswith("j-")]
  some = browser.build(
      directory, FEW, names, {}, "base", sizes[0] + min(sizes) // 2
  )
  assert some.num_cut == len(sizes) - 1
  blocks = dict(cut.blocks)
  name = next(id_ for id_ in blocks if id_.startswith("j-he-"))
  for a, b in zip(packing.unpack(dict(whole.blocks)[name]),
                  packing.unpack(blocks[name])):
    for (*asked, replies), (*same, without) in zip(a, b):
      assert asked == same
      assert without == [[*reply[:3], None] for reply in replies]


def test_a_wrong_judgment_names_file_and_line(make_study):
  directory = make_study(codes=FEW)
  path = directory / "judgments.jsonl"
  lines = path.read_text().splitlines(keepends=True)
  lines[1] = lines[1].replace('"order": "ba"', '"order": "bb"')
  path.write_text("".join(lines))
  with pytest.raises(records.RecordError, match=r"judgments\.jsonl:2: order"):
    page.write_report(directory)


def test_null_is_a_dash_and_never_zero(make_study):
  def change(study):
    nothing = {"score": None, "ci": [None, None], "n": 0, "flip_rate": None,
               "win": 0, "tie": 0, "loss": 0, "failed": 60}
    study["heat_map"]["mono-en"]["he"] |= nothing
    study["against_base"]["he"] |= nothing
    study["curve"][1]["others"] = {"score": None, "ci": [None, None], "n": 0}
    study["exact_match"]["base"]["he"] = {
        "value": None, "n": 0, "ci": [None, None]
    }

  study = _study(make_study, change, codes=FEW)
  grid = sections.heat_map(study)
  assert grid.rows[0].cells[1].text == "–"
  assert "60 failed" in grid.rows[0].cells[1].title
  assert grid.rows[3].cells[1].text == "–"
  assert sections.curve(study).rows[1].cells[1].text == "–"
  assert sections.rates(study, study.exact_match).rows[0].cells[1].text == "–"
  (_, mark), *_ = charts.base_and_control(study).groups[1].bars
  assert (mark.label, mark.low) == ("–", None)
  others = charts.curve(study).lines[1]
  assert len(others.marks) == 4 and others.path.count("M") == 2


def test_a_study_with_little_in_it(make_study):
  def change(study):
    for key in ("heat_map", "against_base", "against_control", "exact_match",
                "language_consistency", "exact_match_by_task"):
      study[key] = {}
    study["curve"] = []
    del study["learning"]

  directory = make_study(change, codes=("en", "he"))
  (directory / "answers.jsonl").unlink()
  stale = [
      directory / "figures" / "heat_map.png",
      directory / "tables" / "heat_map.tex",
  ]
  for path in stale:
    path.parent.mkdir()
    path.write_bytes(b"of an earlier report")
  text = Page(page.write_report(directory)).text
  for said in ("no scores between languages", "no mixtures", "no comparison",
               "no rates of exact answers", "no rates of language consistency",
               "no answers beside", "nothing to say yet"):
    assert said in text
  assert not any(path.exists() for path in stale)
  assert _table(directory, "heat_map") == []


def test_colours_can_be_read():
  """WCAG AA: every text on its ground has a contrast of 4.5 or more."""

  def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    parts = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4
             for x in parts]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

  blocks = rendering._file("style.css").split(":root")[1:]
  assert len(blocks) == 2
  for block in blocks:
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block))
    pairs = [(text, "paper") for text in (
        "ink", "muted", "accent", "english", "others", "average", "good",
        "bad", "focus",
    )] + [("ink", "low"), ("ink", "high"), ("ink", "note")]
    for text, ground in pairs:
      dark, light = sorted(map(luminance, (colours[text], colours[ground])))
      assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground)


def test_a_report_needs_neither_jax_nor_tensorflow(make_study):
  directory = make_study(codes=FEW)
  code = (
      "import sys; from mlit_jax.studies.report import page;"
      f" page.write_report({str(directory)!r});"
      " bad = {'jax', 'tensorflow', 'matplotlib.pyplot'} & set(sys.modules);"
      " assert not bad, bad"
  )
  done = subprocess.run(
      [sys.executable, "-c", code], capture_output=True, text=True, timeout=120
  )
  assert done.returncode == 0, done.stderr
