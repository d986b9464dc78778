"""The other studies as a user runs them, at the smallest size."""

import html
import json
import os
import re
import signal
import subprocess
import time

import pytest
import small_studies
import test_paper_figures

from mlit_jax import records


def _run(name, workdir, *options):
  return subprocess.run(
      small_studies.command(name, workdir, *options), capture_output=True,
      text=True, check=False,
  )


@pytest.fixture(scope="module")
def undisturbed(made_once):
  """Finds what a study left in two processes; and "said", its words."""

  def find(name, experiment=None):
    asked = [f"--study.experiments={experiment}"] if experiment else []

    def fill(directory):
      done = _run(name, directory, "--jobs", "2", *asked)
      assert done.returncode == 0, done.stderr
      (directory / "said").write_text(done.stdout)

    return made_once(f"{name}-{experiment or 'all'}", fill)

  return find


def _check_places(directory, page):
  """Every number that promises answers has them."""
  rows = [row for _, row in records.read_jsonl(directory / "answers.jsonl")]
  systems = json.loads((directory / "results.json").read_text())["systems"]
  places = [
      json.loads(html.unescape(x))
      for x in re.findall(r'data-cell="([^"]*)"', page)
  ]
  assert places
  for place in places:
    assert {place["left"], place["right"]} - {"", "*"} <= systems.keys()
    for lang in place["languages"]:
      assert any(
          row["lang"] == lang and place["left"] in row["answers"]
          and place["search"] in row["id"]
          for row in rows
      ), place


@pytest.mark.slow
@pytest.mark.parametrize("name", small_studies.SMALL)
def test_from_data_to_page(name, undisturbed):
  run = undisturbed(name)
  assert "report.html" in (run / "said").read_text()
  results = json.loads((run / "results.json").read_text())
  page = (run / "report.html").read_text()
  assert results["study"] == name
  # Every figure and table is numbered, drawn and there as files.
  figures = re.findall(r"Figure (\d+)\. ", page)
  assert figures == [str(i + 1) for i in range(len(figures))]
  assert small_studies.files(page) == test_paper_figures.expected(name)
  for kind, name_ in re.findall(r'href="(figures|tables)/([\w.-]+)"', page):
    assert (run / kind / name_).stat().st_size > 20
  # pinch's first figure is a table.
  assert page.count("<svg") == len(figures) - (name == "pinch")
  _check_places(run, page)
  # What quick tests make their pages of is what a run leaves.
  assert _form(results) == _form(small_studies.results(name))


def _form(value):
  """Keys all the way down; of a list the first element's."""
  if isinstance(value, dict):
    # Which kinds of failure there were is no form.
    return {k: _form(v) for k, v in value.items() if k != "failures"}
  if isinstance(value, list):
    return [_form(x) for x in value[:1]]
  return None


@pytest.mark.slow
@pytest.mark.parametrize("name, asked, there, gone", [
    ("lucky52", "number",
     ("endings_curve", "endings_accuracy"),
     ("endings_groups", "endings_correlations")),
    ("lucky52", "similarity", ("endings_correlations",), ("endings_curve",)),
    ("alpaca", "methods",
     ("methods_seen", "budgets_base", "budgets_base_lora", "sums_base_lora"),
     ("sizes_seen", "robustness", "methods_unseen")),
    ("polyglot", "curated",
     ("scores_curated", "scores_many", "gains_cross"),
     ("scores_few", "contests")),
])
def test_a_report_leaves_out_what_was_not_asked_for(
    name, asked, there, gone, undisturbed
):
  run = undisturbed(name, asked)
  files = {path.stem for path in run.glob("*/*.csv")}
  files |= {path.stem for path in run.glob("figures/*.pdf")}
  assert files >= set(there) and not files & set(gone)
  results = json.loads((run / "results.json").read_text())
  page = (run / "report.html").read_text()
  assert results["left_out"]
  for experiment in results["left_out"]:
    assert (
        f"Experiment “{experiment}”: --study.experiments does not name it."
        in page
    )
  assert f"Experiment “{asked}”" not in page


@pytest.mark.slow
def test_one_process_gives_the_bytes_of_two(undisturbed, tmp_path):
  done = _run("lucky52", tmp_path / "run", "--jobs", "1")
  assert done.returncode == 0, done.stderr
  one = (tmp_path / "run" / "results.json").read_bytes()
  assert one == (undisturbed("lucky52") / "results.json").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("name, asked, killed_in, kept", [
    ("lucky52", None, "model-first-02", "model-base"),
    # Where adapters train together, and full tuning stands beside them.
    ("alpaca", "methods", "adapters-lora-mono-en", "model-base"),
    ("polyglot", None, "decode-many-all-parallel", "model-many-all-parallel"),
    # What is tuned after the laws hangs on what was measured before.
    ("xllama", None, "model-muit-12-optimised", "laws"),
])
def test_killed_it_ends_with_the_same_bytes(
    name, asked, killed_in, kept, undisturbed, tmp_path
):
  workdir = tmp_path / "killed"
  options = [f"--study.experiments={asked}"] if asked else []
  steps = workdir / "steps"
  process = subprocess.Popen(
      small_studies.command(name, workdir, *options),
      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
      start_new_session=True,
  )
  started = steps / killed_in / "started.json"
  while not started.exists():
    assert process.poll() is None, "the study ended before it could be killed"
    time.sleep(0.01)
  os.killpg(process.pid, signal.SIGKILL)
  process.wait()
  assert not (steps / killed_in / "done.json").exists()
  assert not (workdir / "results.json").exists()
  before = (steps / kept / "done.json").stat().st_mtime_ns
  done = _run(name, workdir, *options)
  assert done.returncode == 0, done.stderr
  assert (steps / kept / "done.json").stat().st_mtime_ns == before
  whole = undisturbed(name, asked)
  for file in ("results.json", "answers.jsonl", "judgments.jsonl"):
    assert (workdir / file).read_bytes() == (whole / file).read_bytes()
