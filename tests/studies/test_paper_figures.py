"""Every study's page has its paper's figures, and each says how sure it is."""

import html
import re

import pytest
import small_studies

from mlit_jax.studies.report import generic_page, reading, spec
from mlit_jax.studies.report.views import pinch as views_pinch

_MADE = {"exact_match", "language_consistency", "counts"}
# Of every study: the figures, and the tables that are nothing but tables, by
# the name of their files; beside them what of the paper they are.
FIGURES = {
    "pinch": {
        "heat_map": "Figure 1", "percent_curve": "Figure 3",
        "half_curve": "Figure 4", "number_curve": "Figure 5",
        "bilingual": "Figure 6", "family": "Figure 7", "share": "Figure 8",
        "base_and_control": "Figure 10",
    },
    "lucky52": {
        f"{test}_{name}": figure
        for test in ("answers", "endings")
        for name, figure in (
            ("references", "Figure 1"), ("groups", "Figure 2"),
            ("es", "Figures 3 and 4"), ("curve", "Figures 1 to 4"),
            ("accuracy", "Appendix"),
        )
    },
    "alpaca": {
        "methods_seen": "Figures 1 and 3", "methods_unseen": "Figure 2",
        "robustness": "Figure 4",
        **{
            f"{name}_{method}": figure
            for method in ("lora", "full")
            for name, figure in (
                ("sizes_seen", "Figures 1 and 3"), ("sizes_en", "Figure 1"),
                ("sizes_zh", "Figure 1"), ("sizes_unseen", "Figure 2"),
                ("sizes_he", "Figure 2"), ("robustness_sizes", "Figure 4"),
            )
        },
        **{
            f"{name}_{base}": figure
            for base in ("base", "small", "base_lora", "small_lora")
            for name, figure in (
                ("budgets", "Figures 1 and 3"), ("sums", "Appendix"),
            )
        },
    },
    "polyglot": {
        "scores_few": "MT-Bench-X, Bactrian-X cut",
        "gains_own": "mixtures, own",
        "scores_many": "MT-Bench-X, Bactrian-X", "gains_cross": "its 9.9 %",
        "scores_curated": "MT-Bench-X, Lima-X",
    },
    "xllama": {
        "questions": "Figure 4", "questions_all": "Table 2",
        "translation_into": "Figure 2", "translation_out_of": "Figure 9",
        "translation_into_chrf": "Figure 2",
        "translation_out_of_chrf": "Figure 9",
        "law_es": "Figure 3", "law_zh": "Figure 3", "monolingual": "Figure 7",
        "questions_first": "Table 2", "questions_contained": "Table 6",
        "questions_exact": "Table 6", "carried_over": "Table 3",
        "consistency": "Table 3", "separation": "Figure 5",
        **{
            f"map_{system}_{layer}": "Figure 5"
            for system in ("base", "alpaca_en", "muit") for layer in (1, 2)
        },
    },
}
TABLES = {
    "pinch": {"exact_match_by_task", "family_relations", "curve", *_MADE},
    "lucky52": {
        "answers_correlations", "endings_correlations", "updates", "counts",
    },
    "alpaca": {
        f"bases_{group}_{method}"
        for group in ("seen", "unseen") for method in ("lora", "full")
    } | _MADE,
    "polyglot": {"contests", *_MADE},
    "xllama": {
        "ablation", "consistency_all", "instructions", "laws", "shares",
        "shares_scores", *_MADE,
    },
}
# A figure whose numbers have a file of another name.
_OTHER_TABLE = {"percent_curve": "curve"}


def expected(name):
  """(figures, tables) that a study's page links."""
  figures = set(FIGURES[name])
  drawn = {_OTHER_TABLE.get(x, x) for x in figures}
  return figures, drawn | TABLES[name]


@pytest.fixture(scope="module", params=small_studies.SMALL)
def written(request, small_page):
  """(study, its directory with a report, the report's text)."""
  report = small_page(request.param)
  return request.param, report.parent, report.read_text(encoding="utf-8")


def test_every_figure_of_the_paper_is_there(written):
  name, directory, text = written
  assert small_studies.files(text) == expected(name)
  for kind, linked in re.findall(r'href="(figures|tables)/([\w.-]+)"', text):
    assert (directory / kind / linked).stat().st_size > 20


def _captions(text):
  """(title, all that stands below it) of every figure and table."""
  for block in re.findall(r"<figure.*?</figure>", text, re.S):
    title = re.search(r"<h3[^>]*>(.*?)</h3>", block, re.S).group(1)
    caption = re.search(r"<figcaption>(.*)</figcaption>", block, re.S).group(1)
    yield title, html.unescape(re.sub(r"<[^>]+>", "", caption))


def test_every_caption_states_n_the_interval_and_the_judge(written):
  name, _, text = written
  captions = [*_captions(text)]
  # A figure has a table of its own where the page has both.
  assert len(captions) == len(FIGURES[name].keys() | TABLES[name]) - (
      name == "pinch"
  )
  for title, caption in captions:
    assert re.search(r"\b(n = \d|n is |n and the |no n )", caption), (
        title, caption
    )
    assert re.search(r"[Ii]nterval", caption), (title, caption)
    assert re.search(r"Judge: reference|No judge", caption), (
        title, caption
    )


def _items(name, directory):
  """What the page shows, but for what pinch's template draws itself."""
  results = reading.raw(directory)
  sections = (
      views_pinch.sections(results) if name == "pinch"
      else generic_page.find_view(directory)(results).sections
  )
  return [item for section in sections for item in section.items]


def test_what_a_caption_says_of_intervals_is_so(written):
  name, directory, _ = written
  items = _items(name, directory)
  assert items
  for item in items:
    if isinstance(item, spec.Chart):
      marks = [p for s in item.series for p in s.points if p.y is not None]
      with_interval = any(p.low is not None for p in marks)
    else:
      cells = [c for _, row in item.rows for c in row]
      with_interval = any(
          c.low is not None or "interval" in c.title
          or re.search(r" \[-?[\d.]+, -?[\d.]+\]$", str(c.value))
          for c in cells
      )
    said = item.basis
    if "no interval" in said:
      assert not with_interval, item.name
    else:
      assert "95% interval" in said and with_interval, item.name
      if n := re.search(r"n = (\d+)", said):
        assert int(n.group(1)) > 0, item.name
