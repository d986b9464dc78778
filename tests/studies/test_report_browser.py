"""The report in a browser: opens from the disk, answers mouse and keyboard."""

import pathlib
import time

import pytest
from pages import all_of, choose, ids, one, phone, search, settle, values

from mlit_jax.studies.report import page

pytest.importorskip("selenium.webdriver")
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def report(small_study) -> pathlib.Path:
  return page.write_report(small_study)


@pytest.fixture
def opened(browser, report):
  """The page, freshly opened; nothing in the console at the end of the test."""
  browser.get(report.as_uri())
  settle(browser)
  yield browser
  assert browser.get_log("browser") == []


def _texts(browser, column):
  """What the answers' table shows in a column, without the words below it."""
  selector = f"#answers tbody td:nth-child({column}) p[lang]"
  return [p.text for p in all_of(browser, selector)]


def test_opens_from_the_disk_without_a_request(opened):
  assert opened.current_url.startswith("file://")
  assert opened.title == "pinch:pocket – study report"
  loaded = "return performance.getEntriesByType('resource').map(e => e.name)"
  assert opened.execute_script(loaded) == []


def test_pointing_at_a_score_shows_its_details(opened):
  cell = one(opened, "#heat-map tbody tr:nth-child(2) td:nth-child(2)")
  ActionChains(opened).move_to_element(cell).perform()
  shown = one(opened, ".detail").text
  assert shown.startswith("Hebrew model on English questions\n")
  assert f"Score {cell.text}" in shown
  for words in ("95% interval", "n = 60", "won", "tied", "lost",
                "verdict changed with the order"):
    assert words in shown
  marked = all_of(opened, "#heat-map .on")
  assert [x.text for x in marked] == ["en", "Hebrew he"]


def test_heat_map_by_keyboard(opened):
  cells = all_of(opened, "#heat-map [tabindex='0']")
  assert len(cells) == 1  # one stop of the Tab key, not twelve times twelve
  opened.execute_script("arguments[0].focus()", cells[0])
  detail = one(opened, ".detail")
  assert detail.text.startswith("English model on Hebrew")
  keys = ActionChains(opened)
  # Down from here stands the diagonal, which is stepped over.
  keys.send_keys(Keys.ARROW_DOWN).perform()
  assert detail.text.startswith("Arabic model on Hebrew")
  keys.send_keys(Keys.ARROW_LEFT).perform()
  assert detail.text.startswith("Arabic model on English")
  keys.send_keys(Keys.ARROW_LEFT).perform()
  assert detail.text.startswith("Arabic model on English")
  keys.send_keys(Keys.ARROW_DOWN, Keys.ARROW_RIGHT, Keys.ENTER).perform()
  settle(opened)
  assert values(opened, "language", "left", "right") == [
      "he", "mono-sw", "mono-he"
  ]
  assert opened.switch_to.active_element.get_attribute("id") == "browse-title"


def test_hostile_answers_show_as_text(opened):
  shown = _texts(opened, 2)
  assert "<script>document.title = 'owned'; alert(1)</script>" in shown
  assert any(text.startswith("</script><script>alert(1)") for text in shown)
  assert not all_of(opened, "#answers img, #answers b, #answers script")
  assert opened.title == "pinch:pocket – study report"
  assert "(empty answer)" in one(opened, "#answers").text


def test_long_answers_unfold(opened):
  button = one(opened, "#answers td button")
  assert button.text == "Show all 5,000 characters"
  passage = button.find_element("xpath", "preceding-sibling::p")
  assert passage.text.endswith("…") and len(passage.text) < 500
  button.click()
  assert len(passage.get_property("textContent")) == 5000


def test_languages_systems_filters_andsearch(opened):
  count = one(opened, "#count")
  assert count.text == "English: 7 questions."
  choose(opened, "language", "he")
  assert count.text == "Hebrew: 7 questions."
  assert one(opened, "#right").get_property("value") == "mono-he"
  systems = [o.text for o in Select(one(opened, "#left")).options]
  assert "Hebrew control" in systems and "English control" not in systems
  choose(opened, "left", "mono-en")
  # Each text runs as its own language does.
  row = all_of(opened, "#answers tbody tr")[0]
  found = [(p.get_attribute("lang"), p.get_attribute("dir"))
           for p in row.find_elements("css selector", "p[lang]")]
  assert found == [
      ("he", "rtl"), ("he", "rtl"), ("en", "ltr"), ("he", "rtl")
  ]
  assert "wrong language: English" in row.text
  choose(opened, "left", "base")
  choose(opened, "left-status", "exact")
  assert count.text == "Hebrew: 1 of 7 questions."
  choose(opened, "left-status", "wrong")
  assert count.text == "Hebrew: 6 of 7 questions."
  # Hostile answers are in no language that could be told.
  choose(opened, "left-status", "gate")
  assert count.text == "Hebrew: 6 of 7 questions."
  choose(opened, "left-status", "passed")
  assert count.text == "Hebrew: 1 of 7 questions."
  choose(opened, "left-status", "any")
  search(opened, "ALERT(1)")
  assert count.text == "Hebrew: 2 of 7 questions."
  search(opened, "צרפת")
  assert count.text == "Hebrew: 7 questions."


def test_verdicts_and_flips(opened):
  # conftest.VERDICTS: mono-en against mono-he, whose answers stand right.
  choose(opened, "language", "he")
  choose(opened, "left", "mono-en")
  for name, value, expected in (
      ("verdict", "left", ["0"]),
      ("verdict", "right", ["1", "5"]),
      ("verdict", "tie", ["2", "3", "6"]),
      ("verdict", "failed", ["4"]),
      ("verdict", "none", []),
      ("orders", "flip", ["2", "6"]),
      ("orders", "agree", ["0", "1", "3", "5"]),
  ):
    choose(opened, name, value)
    assert ids(opened) == expected, (name, value)
    choose(opened, name, "any")
  # The same from the other side.
  choose(opened, "right", "mono-en")
  choose(opened, "left", "mono-he")
  choose(opened, "verdict", "left")
  assert ids(opened) == ["1", "5"]
  # Who was never judged against each other, and a system beside itself.
  choose(opened, "left", "mono-ar")
  assert ids(opened) == []
  choose(opened, "verdict", "none")
  assert len(ids(opened)) == 7


def test_replies_of_both_orders_show_as_text(opened):
  choose(opened, "language", "he")
  choose(opened, "left", "mono-en")
  summaries = all_of(opened, "#answers summary")
  assert [x.text for x in summaries][:5] == [
      "Judge: left won", "Judge: right won",
      "Judge: tie, the verdict changed with the order", "Judge: tie",
      "Judge: judging failed",
  ]
  for summary in summaries:
    summary.click()
  shown = all_of(opened, "#answers details")[4].text.splitlines()
  assert shown[1:4] == [
      "side_by_side, judge reference",
      "left answer shown first: left won",
      "ab: <script>alert(1)</script> a",
  ]
  assert shown[4] == "right answer shown first: failed (unparsable)"
  assert "ba: <script>alert(1)</script> <b>I cannot say</b>" in shown[5]
  assert not all_of(opened, "#answers details script, #answers details b")


def test_ratings_of_single_answers(opened):
  choose(opened, "left", "mono-en")
  choose(opened, "right", "control-en")
  assert one(opened, "#answers summary").text == (
      "Judge: left rated 3, right 1"
  )
  choose(opened, "verdict", "left")
  assert len(ids(opened)) == 7
  choose(opened, "verdict", "tie")
  assert ids(opened) == []


def test_all_languages_at_once(opened):
  choose(opened, "language", "en he ar sw")
  count = one(opened, "#count")
  assert count.text == "4 languages: 28 questions."
  assert one(opened, "#right").get_property("value") == "*"
  choose(opened, "left", "mono-en")
  assert count.text == "4 languages: 28 questions."
  choose(opened, "verdict", "left")
  # In English it is its own opponent, so it was judged in three languages.
  named = [p.text.partition(" ")[0] for p in all_of(opened, "#answers p.id")]
  assert named == ["Hebrew", "Arabic", "Swahili"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fits_a_narrow_screen_in_light_and_dark(opened, scheme):
  with phone(opened, scheme):
    width = "return document.documentElement.scrollWidth"
    assert opened.execute_script(width) <= 360
    ground = one(opened, "body").value_of_css_property("background-color")
    expected = {"light": "253, 252, 249", "dark": "23, 25, 28"}[scheme]
    assert expected in ground


@pytest.mark.slow
@pytest.mark.alone
def test_a_large_report_is_small_and_opens_soon(browser, large_study):
  """12 languages, 12 systems, 617 questions, answers of 300 characters."""
  path = page.write_report(large_study)
  assert path.stat().st_size < 60e6
  seconds = []
  for _ in range(3):
    browser.get("about:blank")
    began = time.monotonic()
    browser.get(path.as_uri())
    settle(browser)
    seconds.append(time.monotonic() - began)
    assert len(all_of(browser, "#answers p.id")) == 25
  assert min(seconds) < 3
  count = one(browser, "#count")
  assert count.text == "Arabic: 617 questions."
  began = time.monotonic()
  choose(browser, "language", "sw")
  choose(browser, "verdict", "left")
  assert time.monotonic() - began < 3
  assert count.text.startswith("Swahili: ") and "of 617" in count.text
  assert browser.get_log("browser") == []


def test_columns_stand_below_their_heads_on_a_phone(opened):
  def seen(selector):
    return [
        x.rect["x"] + x.rect["width"] for x in all_of(opened, selector)
        if x.is_displayed()
    ]

  size = opened.get_window_size()
  opened.set_window_size(500, 900)
  try:
    heads = seen(".tasks thead th")
    assert len(heads) == 4 and heads == seen(".tasks tbody tr:first-child > *")
  finally:
    opened.set_window_size(size["width"], size["height"])
