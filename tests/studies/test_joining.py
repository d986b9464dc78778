"""A study whose steps were done in several working directories."""

import functools
import json
import os
import shutil
import subprocess
import sys

import pytest
import small_studies

from mlit_jax.errors import UsageError
from mlit_jax.studies import joining, runner
from mlit_jax.studies import study as study_lib
from mlit_jax.studies.progress import Progress

IDENTITY = {"study": "s", "preset": "p", "config": {}}


def _write(place, show, text="", needs=()):
  del show
  parts = [(place.of(n) / "out").read_text() for n in needs]
  (place.directory / "out").write_text(f"{text}({','.join(parts)})")
  (place.directory / "checkpoints").mkdir(exist_ok=True)
  (place.directory / "checkpoints" / "1").write_text("large")
  if needs:
    link = place.directory / "base"
    link.unlink(missing_ok=True)
    link.symlink_to(f"../{needs[0]}")


def _graph(base="a"):
  """A base; b and c made from it; a page made from both."""
  steps = [study_lib.Step("a", functools.partial(_write, text=base),
                          {"base": base})]
  for name, needs in (("b", "a"), ("c", "a"), ("z", "bc")):
    steps.append(study_lib.Step(
        name, functools.partial(_write, text=name, needs=tuple(needs)), {},
        tuple(needs), ("page",) if name == "z" else (),
    ))
  return steps


def _run(path, *names, graph=None):
  graph = graph or _graph()
  wanted = study_lib.needed(graph, names or [step.name for step in graph])
  with (
      runner.Workdir(path, IDENTITY) as workdir,
      open(os.devnull, "w") as nowhere,
  ):
    return runner.run(wanted, workdir, Progress(nowhere))


def _take(path, *others, graph=None):
  with runner.Workdir(path, IDENTITY) as workdir:
    return joining.take(graph or _graph(), workdir, others)


def _outputs(path):
  return {p.parent.name: p.read_text() for p in path.glob("steps/*/out")}


@pytest.fixture
def slices(tmp_path):
  """Two directories; each has the base and one of the runs."""
  found = tmp_path / "slice-0", tmp_path / "slice-1"
  for path, name in zip(found, "bc"):
    _run(path, name)
  return found


def test_what_others_have_done_is_not_done_again(slices, tmp_path):
  assert _take(tmp_path / "all", *slices) == {
      "a": slices[0], "b": slices[0], "c": slices[1]
  }
  assert _run(tmp_path / "all") == 1
  _run(tmp_path / "whole")
  assert _outputs(tmp_path / "all") == _outputs(tmp_path / "whole")
  assert not list((tmp_path / "all" / "steps").glob("[abc]/checkpoints"))
  # Links between steps are of the directory that they are in.
  shutil.rmtree(slices[0])
  shutil.rmtree(slices[1])
  assert (tmp_path / "all/steps/c/base/out").read_text() == "a()"


def test_what_is_done_here_stays(slices, tmp_path):
  _run(tmp_path / "all", "b")
  kept = tmp_path / "all/steps/b/out"
  before = kept.stat().st_mtime_ns
  assert _take(tmp_path / "all", *slices) == {"c": slices[1]}
  assert kept.stat().st_mtime_ns == before
  assert _take(tmp_path / "all", *slices) == {}


def test_other_parameters_are_not_taken(tmp_path):
  _run(tmp_path / "other", "b", graph=_graph("o"))
  assert _take(tmp_path / "all", tmp_path / "other") == {}
  assert _outputs(tmp_path / "all") == {}


def test_what_is_under_way_is_not_taken(slices, tmp_path):
  (slices[1] / "steps/c/done.json").unlink()
  assert _take(tmp_path / "all", *slices).keys() == {"a", "b"}


def test_a_step_with_files_elsewhere_is_done_here(slices, tmp_path):
  (slices[0] / "page").write_text("")
  _run(slices[0])
  assert runner.status(_graph(), slices[0])["z"]
  assert _take(tmp_path / "all", slices[0]).keys() == {"a", "b", "c"}


def test_a_step_made_from_something_else_is_an_error(slices, tmp_path):
  (slices[1] / "steps/a/out").write_text("a()!")
  with pytest.raises(UsageError, match=r"a/out .*slice-1.* step 'a' was done"):
    _take(tmp_path / "all", *slices)
  assert _outputs(tmp_path / "all") == {"a": "a()", "b": "b(a())"}
  # A file that only one has; the other's checkpoints do not count.
  (slices[1] / "steps/a/out").write_text("a()")
  (slices[1] / "steps/a/checkpoints/2").write_text("")
  assert _take(tmp_path / "all", *slices) == {"c": slices[1]}
  shutil.rmtree(tmp_path / "all")
  (slices[1] / "steps/a/more").write_text("")
  with pytest.raises(UsageError, match=r"a/more"):
    _take(tmp_path / "all", *slices)


def test_a_link_that_leads_nowhere_is_done_here(slices, tmp_path):
  link = slices[0] / "steps/b/base"
  link.unlink()
  link.symlink_to("/nowhere/model")
  assert _take(tmp_path / "all", *slices) == {"a": slices[0], "c": slices[1]}
  assert _run(tmp_path / "all") == 2
  assert sorted(p.name for p in (tmp_path / "all/steps").iterdir()) == [*"abcz"]


def test_what_was_made_from_a_base_that_lies_elsewhere_is_taken(
    slices, tmp_path
):
  """The base's own step is done here, with the base where it is here."""
  (slices[0] / "steps/a/model").symlink_to("/nowhere/model")
  assert _take(tmp_path / "all", slices[0]) == {"b": slices[0]}
  assert _run(tmp_path / "all") == 3
  assert _outputs(tmp_path / "all")["b"] == "b(a())"
  assert (tmp_path / "all/steps/b/base/out").read_text() == "a()"


def test_a_copy_that_was_cut_off_is_made_anew(slices, tmp_path, monkeypatch):
  def cut(source, target, **options):
    target.mkdir(parents=True)
    (target / "half").write_text("")
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(shutil, "copytree", cut)
    with pytest.raises(KeyboardInterrupt):
      _take(tmp_path / "all", *slices)
  assert not (tmp_path / "all/steps/a").exists()
  assert len(_take(tmp_path / "all", *slices)) == 3
  assert not list((tmp_path / "all/steps").rglob("half"))


def test_wrong_directories_are_told(slices, tmp_path):
  with pytest.raises(UsageError, match="nowhere: no study's working directory"):
    _take(tmp_path / "all", tmp_path / "nowhere")
  with pytest.raises(UsageError, match="slice-0: the working directory itself"):
    _take(slices[0], slices[0] / "../slice-0")


def _mlit(*words):
  done = subprocess.run(
      [sys.executable, "-m", "mlit_jax.main", *map(str, words)],
      capture_output=True, text=True, check=False,
      env={**os.environ, "JAX_PLATFORMS": "cpu"},
  )
  return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_models_of_two_slices_make_one_report(tmp_path):
  """LoRA over a pocket base, which each slice trains by itself."""
  options = [
      *small_studies.TINY, *small_studies.SMALL["alpaca"],
      "--study.tune.rows_together=0",
  ]
  name = "alpaca:pocket_lora"
  for k, runs in enumerate((("mono-en", "mono-zh"), ("sampled",))):
    for run in runs:
      code, said = _mlit(
          "train", "--study", name, "--run", run, "--workdir",
          tmp_path / f"slice-{k}", *options,
      )
      assert code == 0, said
  joined = tmp_path / "joined"
  code, said = _mlit(
      "study", name, "--workdir", joined, "--jobs", "1", *options,
      "--take", tmp_path / "slice-0", tmp_path / "slice-1",
  )
  assert code == 0, said
  assert f"steps taken from {tmp_path / 'slice-1'}: 2\n" in said
  done_here = json.loads((joined / "timings.json").read_text())
  assert {x for x in done_here if x.startswith("model-")} == {
      "model-all", "model-partition"
  }
  assert {"decode-mono-en", "decode-sampled"} <= done_here.keys()
  # The adapters' base is the one that is here.
  shutil.rmtree(tmp_path / "slice-0")
  shutil.rmtree(tmp_path / "slice-1")
  assert (joined / "steps/model-sampled/model/config.json").exists()
  assert (joined / "report.html").exists()
