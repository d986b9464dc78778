"""The pages of the studies beside pinch in a browser: drawn, and pressed."""

import pytest
from pages import all_of, ids, one, phone, settle, values

pytest.importorskip("selenium.webdriver")
from selenium.webdriver.common.action_chains import ActionChains

pytestmark = pytest.mark.browser

STUDIES = ("lucky52", "alpaca", "polyglot", "xllama")
# Of a figure a mark; what it says of itself, and which answers it opens.
MARKS = {
    "lucky52": (
        "#test-answers svg [data-row='0'][data-column='1']",
        "all languages, 2 zh",
        ("zh", "first-02", "answers/"), 4,
    ),
    "alpaca": (
        "#size-base svg [data-row='1'][data-column='0']",
        "its own monolingual model, English", ("en", "mono-en", ""), 1,
    ),
    "polyglot": (
        "#gains svg [data-row='0'][data-column='1']",
        "few-all-parallel, Italian", ("it", "few-all-parallel", ""), 1,
    ),
    "xllama": (
        "#translation svg [data-row='1'][data-column='1']",
        "its own model, Chinese", ("zh", "coit-zh", "into/"), 1,
    ),
}
# The smallest models answer no question about a text rightly.
EMPTY = {"xllama": {"carried_over"}}


@pytest.fixture(scope="module", params=STUDIES)
def report(request, small_page):
  return request.param, small_page(request.param)


@pytest.fixture
def opened(browser, report):
  """(study, page, opened); nothing in the console at the end of the test."""
  browser.get(report[1].as_uri())
  settle(browser)
  yield report[0], browser
  assert browser.get_log("browser") == []


def test_every_figure_is_drawn(opened):
  name, browser = opened
  loaded = "return performance.getEntriesByType('resource').map(e => e.name)"
  assert browser.execute_script(loaded) == []
  # [name, width and height of it, of the largest thing in it that is data].
  found = browser.execute_script("""
    return [...document.querySelectorAll('figure')].map(figure => {
      const shown = figure.querySelector('svg.chart, table');
      const size = x => {
        const box = x.getBoundingClientRect();
        return Math.max(box.width, box.height);
      };
      const data = [...shown.querySelectorAll(
          '.bar, .mark, .whisker, path.line[d^="M"], td')].map(size);
      const box = shown.getBoundingClientRect();
      return [figure.getAttribute('aria-labelledby'), box.width, box.height,
              Math.max(0, ...data)];
    });
  """)
  assert len(found) > 7
  empty = {f"{x}-title" for x in EMPTY.get(name, ())}
  assert {row[0] for row in found if not row[3]} == empty
  assert all(width > 50 and height > 20 for _, width, height, _ in found)


def test_a_mark_says_what_it_is_and_opens_its_answers(opened):
  name, browser = opened
  selector, said, (lang, left, searched), number = MARKS[name]
  mark = all_of(browser, selector)[0]
  browser.execute_script("arguments[0].scrollIntoView()", mark)
  ActionChains(browser).move_to_element(mark).perform()
  section = selector.partition(" ")[0]
  detail = all_of(browser, f"{section} .detail")
  told = [x.text for x in detail if x.text.startswith(said)]
  assert len(told) == 1 and "95% interval" in told[0] and "n = " in told[0]
  ActionChains(browser).click().perform()
  settle(browser)
  languages, shown, words = values(browser, "language", "left", "search")
  assert (shown, words) == (left, searched)
  assert lang in languages.split()
  assert len(languages.split()) == number
  # small_studies.write: three questions of each material and language.
  assert len(ids(browser)) == 3 * number
  assert f"{left} {lang} 0" in one(browser, "#answers").text


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scrolls_figures_and_not_the_page(opened, scheme):
  _, browser = opened
  with phone(browser, scheme):
    width = "return document.documentElement.scrollWidth"
    assert browser.execute_script(width) <= 360
    chart = one(browser, "figure .scroll:has(svg)")
    inside, outside = browser.execute_script(
        "return [arguments[0].scrollWidth, arguments[0].clientWidth]", chart
    )
    assert inside > outside
    # What lies beyond the edge casts a shadow.
    assert "linear-gradient" in chart.value_of_css_property("background-image")
    ground = one(browser, "body").value_of_css_property("background-color")
    ink = one(browser, "h1").value_of_css_property("color")
    contrast = _light(ground) - _light(ink)
    assert (contrast if scheme == "light" else -contrast) > 150


def _light(colour):
  """Of "rgba(r, g, b, a)" the mean of the three."""
  parts = colour.partition("(")[2].rstrip(")").split(",")[:3]
  return sum(map(float, parts)) / 3
