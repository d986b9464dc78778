"""The documentation: every page is listed, every package has its reference."""

import pathlib
import re
import subprocess
import sys

import pytest

import mlit_jax
from mlit_jax.studies import loading

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = pathlib.Path(mlit_jax.__file__).parent
PAGES = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
)
STUDIES = ("pinch", "lucky52", "alpaca", "polyglot", "xllama")
# Not a part of the package but where it is installed.
_NO_REFERENCE = {"__init__", "configs"}


def test_every_page_is_listed():
  listed = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text()))
  there = {
      path.relative_to(ROOT / "docs").as_posix()
      for path in (ROOT / "docs").rglob("*.md")
  }
  assert listed == there


def test_the_readme_links_every_page_once_in_its_list():
  text = (ROOT / "README.md").read_text(encoding="utf-8")
  listed = text.partition("`configs/` holds a file per paper")[2]
  links = re.findall(r"\]\(docs/([\w-]+\.md)\)", listed)
  there = {path.name for path in (ROOT / "docs").glob("*.md")}
  assert sorted(links) == sorted(there - {"index.md"})


def test_the_first_page_links_every_other_once():
  text = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
  links = re.findall(r"\]\(([\w-]+\.md)\)", text)
  there = {path.name for path in (ROOT / "docs").glob("*.md")}
  assert sorted(links) == sorted(there - {"index.md"})


def test_every_link_leads_somewhere():
  found = 0
  for path in PAGES:
    text = path.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
      if re.match(r"https?://", link):
        continue
      name, _, anchor = link.partition("#")
      target = path.parent / name if name else path
      assert target.exists(), f"{path.name}: {link}"
      assert not anchor or anchor in _anchors(target), f"{path.name}: {link}"
      found += 1
  assert found > 50


def _anchors(path):
  """Of a page's headings, as GitHub and MkDocs make them of plain words."""
  text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.M | re.S)
  headings = re.findall(r"^#+ +(.+)$", text, re.M)
  words = (re.sub(r"[^\w -]", "", x.lower()) for x in headings)
  return {x.strip().replace(" ", "-") for x in words}


def test_every_preset_named_is_there():
  named = {
      (path.name, name, preset)
      for path in PAGES
      for name, preset in re.findall(
          rf"(?:`|study )({'|'.join(STUDIES)}):([a-z]\w*)",
          path.read_text(encoding="utf-8"),
      )
  }
  assert {("index.md", "pinch", x) for x in ("pocket", "own")} <= named
  for page, name, preset in named:
    assert preset in loading.configs(name).PRESETS, (page, name, preset)


def test_every_package_has_its_reference():
  named = [
      name
      for path in (ROOT / "docs" / "reference").iterdir()
      for name in re.findall(r"^::: mlit_jax\.(\w+)$", path.read_text(), re.M)
  ]
  there = {
      path.stem for path in PACKAGE.iterdir()
      if path.suffix == ".py" or (path / "__init__.py").exists()
  }
  assert sorted(named) == sorted(there - _NO_REFERENCE)


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
  pytest.importorskip("mkdocs")
  pytest.importorskip("mkdocstrings")
  done = subprocess.run(
      [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir",
       str(tmp_path)],
      cwd=ROOT, capture_output=True, text=True, check=False,
  )
  assert done.returncode == 0, done.stderr
  page = (tmp_path / "reference" / "judging.html").read_text()
  assert "Reads question.jsonl." in page
  # Nothing is loaded from elsewhere.
  for path in tmp_path.rglob("*.html"):
    text = path.read_text()
    outside = r'<(?:script|link|img)[^>]*(?:src|href)="(?:https?:)?//'
    assert not re.search(outside, text), path
