"""Reports on paper: nothing cut, hidden, dark, or only for who has a mouse."""

import base64
import re
import zlib

import generic_study
import pytest
from pages import PAPER, all_of, one, paper, settle

from mlit_jax import records
from mlit_jax.studies.report import page

pytest.importorskip("selenium.webdriver")

pytestmark = [pytest.mark.browser, pytest.mark.long]

STUDIES = ("pinch", "lucky52", "alpaca", "polyglot", "xllama")
A4 = {"paperWidth": 8.27, "paperHeight": 11.69, "preferCSSPageSize": True}


def _write(directory, name, write_study):
  """A directory: pinch's with twelve languages, or alpaca's with people."""
  if name == "pinch":
    write_study(directory)
  else:
    generic_study.write(directory)
    rows = [
        records.Judgment(
            f"q{i}", lang, "rating", f"human:{rater}", system, "", "ab", "",
            score=float((i + len(rater) + len(system)) % 4),
        )
        for i in range(generic_study.NUM) for lang in generic_study.CODES
        for system in generic_study.SYSTEMS for rater in ("anna", "ben")
    ]
    records.write_records(directory / "people.jsonl", rows)


@pytest.fixture(scope="module", params=STUDIES)
def report(request, tmp_path_factory, write_study, small_page):
  if request.param in ("lucky52", "polyglot", "xllama"):
    return small_page(request.param)
  directory = tmp_path_factory.mktemp("print") / request.param
  _write(directory, request.param, write_study)
  return page.write_report(directory)


@pytest.fixture
def opened(browser, report):
  """The page; nothing in the console at the end of the test."""
  browser.get(report.as_uri())
  settle(browser)
  yield browser
  assert browser.get_log("browser") == []


def test_every_figure_is_there_and_none_is_cut(opened):
  with paper(opened):
    figures = opened.execute_script("""
      const [width, height] = arguments;
      const parts = x => [...x.getClientRects()].filter(r => r.height);
      const page = r => Math.floor((r.left + window.scrollX + 1) / width);
      const cut = x => parts(x).length > 1;
      const over = x => parts(x).some(
          r => (r.left + window.scrollX) - page(r) * width + r.width
               > width + 1);
      return [...document.querySelectorAll("figure")].map(figure => {
        const title = figure.querySelector("h3");
        const shown = [...figure.querySelectorAll("svg.chart, table")];
        const whole = figure.querySelectorAll(
            "h3, svg, tbody tr, figcaption > p, .key");
        const high = parts(figure).reduce((sum, r) => sum + r.height, 0);
        return {
          name: title.textContent,
          pages: parts(figure).length,
          long: high > height,
          empty: !shown.length || shown.some(x => !parts(x).length),
          cut: [...whole].filter(cut).length,
          high: [...figure.querySelectorAll("svg")].some(
              x => x.getBoundingClientRect().height > height),
          over: [...figure.querySelectorAll("svg, td, th, p")].filter(over)
              .length,
          apart: page(parts(title)[0]) != page(parts(shown[0])[0]),
        };
      });
    """, *PAPER)
  assert len(figures) > 6
  for key in ("empty", "cut", "high", "over", "apart"):
    assert [f["name"] for f in figures if f[key]] == [], key
  # Longer than a page is a table at most, which goes on between its rows.
  broken = [f["name"] for f in figures if f["pages"] > 1 and not f["long"]]
  assert broken == []


def test_headings_stand_above_what_they_head(opened):
  with paper(opened):
    alone = opened.execute_script("""
      const page = x => Math.floor(
          (x.getClientRects()[0].left + window.scrollX + 1) / arguments[0]);
      return [...document.querySelectorAll("h2")].filter(
          x => page(x) != page(x.nextElementSibling)).map(x => x.textContent);
    """, PAPER[0])
  assert alone == []


def test_what_a_mouse_would_find_stands_on_paper(opened):
  """Intervals, the columns' full names, folded numbers, where the rest is."""
  with paper(opened):
    cells = opened.execute_script("""
      return [...document.querySelectorAll("figure td")].map(x => [
        "cell" in x.dataset ? JSON.parse(x.dataset.cell).parts.join(", ")
          : x.title, getComputedStyle(x, "::after").content]);
    """)
    bounded = [(told, ends) for told, ends in cells if "95% int" in told]
    assert len(bounded) > 5
    for told, ends in bounded:
      number = r"(-?[\d.]+)"
      said = re.search(rf"interval {number}(?:–| to ){number}", told)
      shown = re.fullmatch(rf'"{number}–{number}"', ends)
      assert shown, (told, ends)
      for x, y in zip(said.groups(), shown.groups(), strict=True):
        assert float(x) == pytest.approx(float(y), abs=0.06, rel=4e-3), told
    for figure in all_of(opened, "figure"):
      names = opened.execute_script(
          "return [...arguments[0].querySelectorAll('abbr[title]')]"
          ".map(x => x.title)", figure,
      )
      text = figure.text
      assert [name for name in names if name not in text] == []
    folded = all_of(opened, "figure details")
    assert all(x.get_property("open") for x in folded)
    said = one(opened, "#browse .printed")
    assert said.is_displayed() and "answers.jsonl" in said.text
    assert all_of(opened, "#answers tbody tr")[0].is_displayed()
    gone = all_of(opened, ".detail, .controls, nav, button")
    assert not any(x.is_displayed() for x in gone)
  assert not any(x.get_property("open") for x in folded)
  assert not said.is_displayed()
  after = "return getComputedStyle(document.querySelector('td'), '::after')"
  assert opened.execute_script(f"{after}.content") == "none"


def test_a_dark_screen_prints_as_a_light_one(opened):
  printed = {}
  for scheme in ("light", "dark"):
    with paper(opened, scheme):
      ground = one(opened, "body").value_of_css_property("background-color")
      assert "253, 252, 249" in ground
    feature = {"name": "prefers-color-scheme", "value": scheme}
    opened.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [feature]}
    )
    ground = one(opened, "body").value_of_css_property("background-color")
    assert ("253, 252, 249" in ground) == (scheme == "light")
    printed[scheme] = _streams(_print(opened))
  opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
  assert len(printed["light"]) > 3
  assert printed["light"] == printed["dark"]


def test_the_printed_pages_are_the_columns_looked_at(opened):
  """What is true of the columns above is so of Chromium's own pages."""
  opened.execute_script("""
    window.seen = null;
    window.addEventListener("beforeprint", () => {
      window.seen = document.querySelectorAll("figure details:not([open])")
          .length;
    });
  """)
  pages = len(re.findall(rb"/Type\s*/Page\b", _print(opened)))
  assert opened.execute_script("return window.seen") == 0
  with paper(opened):
    width = opened.execute_script("return document.body.scrollWidth")
    assert pages == round(width / PAPER[0])


def _print(browser) -> bytes:
  found = browser.execute_cdp_cmd("Page.printToPDF", A4)
  return base64.b64decode(found["data"])


def _streams(pdf: bytes) -> list[bytes]:
  """What is drawn and the fonts, without the date."""
  found = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL)
  return [zlib.decompress(x) for x in found if x[:1] == b"\x78"]
