"""From a number of a figure to the answers behind it, by mouse and keyboard."""

import json

import generic_study
import pytest
from pages import all_of, ids, one, settle, values

from mlit_jax import records
from mlit_jax.studies.report import page, spec

pytest.importorskip("selenium.webdriver")
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def report(tmp_path_factory):
  directory = tmp_path_factory.mktemp("clicks") / "alpaca"
  return page.write_report(generic_study.write(directory))


@pytest.fixture(scope="module")
def pinch(tmp_path_factory, write_study):
  """The page of a pinch study with some of its further experiments."""

  def change(study):
    rows = {"score": 20.0, "ci": [10.0, 30.0], "n": 180}
    study["systems"]["pair-en-he"] = {
        "kind": "bilingual", "pair": ["en", "he"], "counts": {"en": 1},
    }
    study["experiments"] = {
        "bilingual": [{
            "pair": ["en", "he"], "others": ["ar", "sw"], "bilingual": rows,
            "monolingual": {"en": rows, "he": rows},
        }],
        "share": {
            "points": [
                {"lang": x, "share": s, "transfer": rows}
                for x, s in (("he", 20.0), ("ar", 40.0), ("sw", 10.0))
            ],
            "pearson": None,
        },
    }

  directory = tmp_path_factory.mktemp("clicks") / "pinch"
  codes = ("en", "he", "ar", "sw")
  return page.write_report(write_study(directory, change, codes=codes))


def _open(browser, path):
  browser.get(path.as_uri())
  settle(browser)


def _press(browser, cell):
  browser.execute_script("arguments[0].scrollIntoView()", cell)
  height = "return document.documentElement.scrollHeight"
  before = browser.execute_script(height)
  ActionChains(browser).move_to_element(cell).perform()
  assert browser.execute_script(height) == before  # nothing moves away
  ActionChains(browser).click().perform()
  settle(browser)


def test_a_bar_lists_its_answers(browser, report):
  _open(browser, report)
  # The third budget's bar in the second language.
  bar = "#size-base svg [data-row='2'][data-column='1']"
  shown = one(browser, bar)
  _press(browser, shown)
  assert values(browser, "language", "left") == ["he", "all"]
  assert len(ids(browser)) == generic_study.NUM
  assert "all he <i>0</i>" in one(browser, "#answers").text
  assert one(browser, "#size-base .detail").text.splitlines() == [
      "one model, all data, Hebrew", "12.0", "95% interval 10.0–14.0", "n = 4"
  ]
  assert browser.get_log("browser") == []


def test_a_bar_over_several_languages_lists_them_all(browser, report):
  _open(browser, report)
  _press(browser, one(browser, "#robustness svg [data-column='3']"))
  assert values(browser, "language", "left") == ["en he", "all"]
  assert "2 languages: English, Hebrew" in one(browser, "#language").text
  assert one(browser, "#count").text == "2 languages: 8 questions."


def test_a_cell_by_keyboard(browser, report):
  _open(browser, report)
  # One stop of the Tab key in every figure.
  for figure in all_of(browser, "figure"):
    stops = figure.find_elements("css selector", "[data-cell][tabindex='0']")
    cells = figure.find_elements("css selector", "[data-cell]")
    assert len(stops) == (1 if cells else 0)
  table = "#size-base table"
  first = one(browser, f"{table} [tabindex='0']")
  browser.execute_script("arguments[0].focus()", first)
  keys = ActionChains(browser)
  keys.send_keys(Keys.ARROW_DOWN, Keys.ARROW_RIGHT).perform()
  marked = [x.text for x in all_of(browser, f"{table} .on")]
  assert marked == ["he", "mono-en"]
  keys.send_keys(Keys.ENTER).perform()
  settle(browser)
  assert values(browser, "language", "left") == ["he", "mono-en"]
  active = browser.switch_to.active_element
  assert active.get_attribute("id") == "browse-title"


def test_pooled_pairs_stand_against_each_languages_own(browser, pinch):
  _open(browser, pinch)
  _press(browser, one(browser, "#bilingual svg [data-row='2']"))
  assert values(browser, "language", "left", "right") == [
      "ar sw", "mono-he", "*"
  ]
  # Each is judged against its language's own model.
  assert all(
      x.text.startswith("Judge: ") for x in all_of(browser, "#answers summary")
  )
  assert len(all_of(browser, "#answers summary")) == 14
  _press(browser, one(browser, "#bilingual svg [data-row='0']"))
  assert values(browser, "left", "right") == ["pair-en-he", "*"]
  # A scatter plot's points go by their place from left to right.
  point = one(browser, "#share svg [tabindex='0']")
  browser.execute_script("arguments[0].focus()", point)
  ActionChains(browser).send_keys(Keys.ARROW_RIGHT, Keys.ENTER).perform()
  settle(browser)
  assert values(browser, "left") == ["mono-ar"]


def test_curve_and_control_lead_to_their_pairs(browser, pinch):
  _open(browser, pinch)
  _press(browser, one(browser, "#pinch svg [data-row='1'][data-column='2']"))
  assert values(browser, "language", "left", "right") == [
      "he ar sw", "p10", "*"
  ]
  _press(browser, one(browser, "#base svg [data-row='3']"))
  assert values(browser, "language", "left", "right") == [
      "he", "control-he", "mono-he"
  ]
  assert browser.get_log("browser") == []


def test_a_place_may_look_for_some_of_the_answers(browser, tmp_path):
  def view(results):
    cell = spec.Cell(1, "", spec.Place(["he"], "all", search="q2"))
    table = spec.Table("one", "One", [("a", "")], [("b", [cell])], "")
    section = spec.Section("only", "Only", (), [table])
    return spec.View("Which?", "nobody", (), (), [section])

  directory = generic_study.write(tmp_path / "study")
  _open(browser, page.write_report(directory, view))
  _press(browser, one(browser, "#only td[data-cell]"))
  assert values(browser, "language", "left", "search") == ["he", "all", "q2"]
  assert ids(browser) == ["q2"]


def test_two_systems_stand_beside_each_other_at_first(browser, tmp_path):
  """Even where neither the base nor a language's own model was asked."""
  directory = generic_study.write(tmp_path / "study")
  path = directory / "answers.jsonl"
  rows = [row for _, row in records.read_jsonl(path)]
  for row in rows:
    row["answers"] = {
        name: row["answers"][name] for name in ("mono-en", "all")
    }
  rows = [row for row in rows if row["lang"] == "he"]
  records.write_text(path, (json.dumps(row) + "\n" for row in rows))
  _open(browser, page.write_report(directory))
  assert values(browser, "language", "left", "right") == [
      "he", "mono-en", "all"
  ]


def test_without_answers_nothing_promises_to_open(browser, tmp_path):
  directory = generic_study.write(tmp_path / "study")
  (directory / "answers.jsonl").unlink()
  browser.get(page.write_report(directory).as_uri())
  assert all_of(browser, "[data-cell]") and not all_of(browser, ".opens")
  hint = one(browser, ".detail").text
  assert hint.endswith("with the arrow keys.")
  assert browser.get_log("browser") == []
