"""The documentation: every page is listed, every package has its reference."""

import pathlib
import re
import subprocess
import sys

import pytest

import mlit_jax

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = pathlib.Path(mlit_jax.__file__).parent
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
