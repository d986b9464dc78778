"""The page to rate on: keyboard, reload, export, import, in Chromium."""

import json
import pathlib
import time

import pages
import pytest

from mlit_jax import records
from mlit_jax.judging import protocols, ratings, sheet_page, sheets

pytest.importorskip("selenium.webdriver")
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

pytestmark = pytest.mark.browser
HOSTILE = (
    "<script>document.title = 'owned'</script>",
    "</script><script>document.title = 'owned'</script><!-- <img src=x>",
)


@pytest.fixture(scope="module")
def downloads(tmp_path_factory) -> pathlib.Path:
  return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(tmp_path_factory, downloads):
  driver = pages.start(tmp_path_factory.mktemp("profile"), downloads)
  yield driver
  driver.quit()


def _responses(model, texts):
  return [
      records.Response(str(i), "he", model, text, "stop", 1)
      for i, text in enumerate(texts)
  ]


@pytest.fixture
def sheet(request):
  """Ten pairs in Hebrew; some answers attack the page, one is in English.

  Each test has its own, so that nothing is kept from the one before.
  """
  prompts = [
      records.Instruction(str(i), "he", (records.Message("user", "מה? (1)"),))
      for i in range(10)
  ]
  nothing = f"({request.node.name})"
  a = ["בירת צרפת היא Paris.", *HOSTILE, "The capital.", *["כן"] * 5, nothing]
  return sheets.make(
      protocols.SIDE_BY_SIDE, prompts, [_responses("one", a)],
      _responses("two", ["לא"] * 10),
  )[0]


@pytest.fixture
def opened(browser, sheet, tmp_path_factory):
  """The page; nothing in the console at the end."""
  path = tmp_path_factory.mktemp("page") / "sheet.html"
  path.write_text(sheet_page.render(sheet), encoding="utf-8")
  browser.get(path.as_uri())
  yield browser
  assert browser.get_log("browser") == []


def _one(browser, selector):
  return browser.find_element(By.CSS_SELECTOR, selector)


def _press(browser, *keys):
  ActionChains(browser).send_keys(*keys).perform()


def _reload(browser):
  """Loads the page anew and waits for it."""
  browser.execute_script("document.title = 'old'")
  browser.refresh()
  for _ in range(250):
    if browser.title != "old":
      return
    time.sleep(0.02)


def _says(browser, selector, text) -> bool:
  """Whether the page says so, soon: files and keys take a moment."""
  for _ in range(250):
    if _one(browser, selector).text == text:
      return True
    time.sleep(0.02)
  print(_one(browser, selector).text)
  return False


def _kept(browser, progress) -> bool:
  """Whether the page, loaded anew, knows what was rated.

  What is kept travels to another process, which on a busy machine takes longer
  than a reload; a later one finds it.
  """
  for _ in range(4):
    _reload(browser)
    if _says(browser, "#progress", progress):
      return True
  return False


def _export(browser, downloads, sheet):
  for old in downloads.iterdir():
    old.unlink()
  _one(browser, "#export").click()
  for _ in range(200):
    # Chromium makes the file before it fills it.
    if found := [f for f in downloads.glob("*.json") if f.stat().st_size]:
      return found[0]
    time.sleep(0.02)
  raise AssertionError("nothing was exported")


def test_rate_reload_export_import(opened, sheet, downloads):
  given = "1201201201"
  assert _says(opened, "#progress", "0 of 10 rated")
  _press(opened, *given[:4])
  assert _says(opened, "#progress", "4 of 10 rated")
  assert _kept(opened, "4 of 10 rated")
  assert _says(opened, "#number", "Item 5 of 10")
  _press(opened, *given[4:])
  assert _says(opened, "#progress", "All 10 rated. Export them now.")
  # In a field, keys are letters.
  _one(opened, "#rater").click()
  _press(opened, "anna 2", Keys.ESCAPE, Keys.ARROW_LEFT, Keys.ARROW_LEFT)
  assert _says(opened, "#number", "Item 8 of 10")
  _one(opened, "#comment").send_keys("שלום 2")
  path = _export(opened, downloads, sheet)
  assert path.name == f"he-anna_2-{sheet.name}.json"
  rated = ratings.read(path)
  assert rated.rater == "anna 2"
  rows = {item: (rating, comment) for _, item, rating, comment in rated.rows}
  assert [rows[e.name][0] for e in sheet.entries] == list(given)
  assert rows[sheet.entries[7].name] == ("2", "שלום 2")
  before = path.read_text()
  # Another browser: nothing is kept there, and the file brings it back.
  opened.execute_script("localStorage.clear()")
  _reload(opened)
  assert _says(opened, "#progress", "0 of 10 rated")
  kept = downloads.parent / "kept.json"
  kept.write_text(before)
  _one(opened, "#import").send_keys(str(kept))
  assert _says(opened, "#told", "Imported 10 items.")
  assert _one(opened, "#progress").text.startswith("All 10 rated")
  assert _export(opened, downloads, sheet).read_text() == before


def test_a_rating_is_changed_and_taken_back(opened):
  _press(opened, "1", Keys.ARROW_LEFT)
  pressed = "#choices [aria-pressed='true']"
  assert _one(opened, pressed).text == "1the first is better"
  _press(opened, "2", Keys.ARROW_LEFT)
  assert _one(opened, pressed).text == "2the second is better"
  _press(opened, Keys.BACKSPACE, "7")
  assert not opened.find_elements(By.CSS_SELECTOR, pressed)
  assert _says(opened, "#progress", "0 of 10 rated")
  # By mouse, too; and Enter finds what was left out.
  _one(opened, "#next").click()
  _one(opened, "#choices button").click()
  assert _says(opened, "#number", "Item 3 of 10")
  _press(opened, "0")
  for _ in range(7):
    _press(opened, Keys.ENTER)
  assert _says(opened, "#number", "Item 1 of 10")


def test_answers_are_text_and_run_as_their_letters_do(opened, sheet):
  seen = {}
  for _ in sheet.items:
    for text in opened.find_elements(By.CSS_SELECTOR, "#answers .text"):
      seen[text.text] = text.get_attribute("dir"), text.get_attribute("lang")
    question = _one(opened, "#shown .text")
    assert question.get_attribute("dir") == "rtl"
    assert question.value_of_css_property("direction") == "rtl"
    _press(opened, Keys.ARROW_RIGHT)
  assert set(HOSTILE) < set(seen)
  assert opened.title == "Hebrew: 10 items to rate"
  assert seen["בירת צרפת היא Paris."] == ("rtl", "he")
  assert seen["The capital."] == ("ltr", "he")
  loaded = "return performance.getEntriesByType('resource').map(e => e.name)"
  assert opened.execute_script(loaded) == []


@pytest.mark.parametrize("text, told", [
    ("no", "is no export of such a page."),
    ("{}", "is no export of such a page."),
    ("other sheet", "belongs to another sheet (x0)."),
])
def test_other_files_are_refused(opened, sheet, tmp_path, text, told):
  if text == "other sheet":
    text = json.dumps({"format": ratings.FORMAT, "sheet": "x0"})
  path = tmp_path / "f.json"
  path.write_text(text)
  _press(opened, "1")
  _one(opened, "#import").send_keys(str(path))
  assert _says(opened, "#told", f"f.json {told}")
  assert _says(opened, "#progress", "1 of 10 rated")


def test_an_import_cannot_bring_what_the_sheet_has_not(opened, sheet, tmp_path):
  path = tmp_path / "f.json"
  name = sheet.entries[0].name
  path.write_text(json.dumps({
      "format": ratings.FORMAT, "sheet": sheet.name, "rater": "<b>x</b>",
      "ratings": {
          name: {"rating": "9", "comment": "<img src=x onerror=alert(1)>"},
          "__proto__": {"rating": "1"}, "x-999": {"rating": "1"},
          sheet.entries[1].name: None,
      },
  }))
  _one(opened, "#import").send_keys(str(path))
  assert _says(opened, "#told", "Imported 1 items.")
  assert _says(opened, "#progress", "0 of 10 rated")
  assert "onerror" in _one(opened, "#comment").get_property("value")


@pytest.mark.parametrize("scheme, ground", [
    ("light", "253, 252, 249"), ("dark", "23, 25, 28"),
])
def test_fits_a_narrow_screen_in_light_and_dark(opened, scheme, ground):
  with pages.phone(opened, scheme):
    width = "return document.documentElement.scrollWidth"
    assert opened.execute_script(width) <= 360
    body = _one(opened, "body")
    assert ground in body.value_of_css_property("background-color")
