"""The runner: order, skipping, worker processes and what goes wrong there."""

import functools
import json
import multiprocessing
import os
import pathlib
import signal
import time

import pytest

from mlit_jax.errors import UsageError
from mlit_jax.studies import runner, workers
from mlit_jax.studies.progress import Progress
from mlit_jax.studies.study import Step


class BrokenError(ValueError):
  """A step's own error."""


def _write(place, show, text="", needs=()):
  show("writing")
  parts = [(place.of(n) / "out").read_text() for n in needs]
  (place.directory / "out").write_text(f"{text}({','.join(parts)})")
  (place.directory / "pid").write_text(str(os.getpid()))


def _misbehave(place, show, how):
  del show
  if how == "raise":
    raise BrokenError("the disk is made of cheese")
  if how == "die":
    os.kill(os.getpid(), signal.SIGKILL)
  (place.directory / "pid").write_text(str(os.getpid()))
  time.sleep(120)


def _graph(how="", leaf=None, alone=""):
  """One step, four beside each other, one that needs them all."""
  middle = tuple("bcde")
  steps = [Step("a", functools.partial(_write, text="a"), {})]
  steps += [
      Step(
          n, functools.partial(_write, text=n, needs=("a",)), {}, ("a",),
          alone=n == alone,
      )
      for n in middle
  ]
  if how:
    work = functools.partial(_misbehave, how=how)
    steps[2] = Step("c", work, {"how": how}, ("a",))
  last = functools.partial(_write, text="z", needs=middle)
  steps.append(Step("z", last, {}, middle, (leaf,) if leaf else ()))
  return steps


def _run(path, jobs=2, **options):
  make = functools.partial(_graph, **options)
  identity = {"study": "s", "preset": "p", "config": {}}
  with (
      runner.Workdir(path, identity) as workdir,
      open(os.devnull, "w") as nowhere,
  ):
    pool = workers.Pool(make, path, workdir.steps, jobs) if jobs > 1 else None
    return runner.run(make(), workdir, Progress(nowhere), pool)


def _outputs(path):
  return {p.parent.name: p.read_text() for p in path.glob("steps/*/out")}


def _pid(path, name):
  return int((path / "steps" / name / "pid").read_text())


def test_jobs_do_not_change_what_is_made(tmp_path):
  assert _run(tmp_path / "one", jobs=1) == 6
  assert _run(tmp_path / "two") == 6
  assert _outputs(tmp_path / "one") == _outputs(tmp_path / "two")
  assert _outputs(tmp_path / "two")["z"] == "z(b(a()),c(a()),d(a()),e(a()))"
  # With two jobs nothing is done here, also where it could be: a step has the
  # same number of threads in a run that goes on as in one that was not stopped.
  elsewhere = {_pid(tmp_path / "two", n) for n in "abcdez"}
  assert os.getpid() not in elsewhere
  assert 1 <= len(elsewhere) <= 2
  assert _run(tmp_path / "two") == 0


def test_a_step_that_wants_all_cores_waits_for_the_others(tmp_path):
  assert _run(tmp_path, alone="b") == 6
  written = {
      n: (tmp_path / "steps" / n / "out").stat().st_mtime_ns for n in "bcde"
  }
  assert written["b"] > max(written[n] for n in "cde")
  assert _pid(tmp_path, "b") == os.getpid()
  assert _outputs(tmp_path)["z"] == "z(b(a()),c(a()),d(a()),e(a()))"


def test_a_step_whose_work_outside_its_directory_is_gone_is_redone(tmp_path):
  assert _run(tmp_path, jobs=1, leaf="page") == 6
  assert _run(tmp_path, jobs=1, leaf="page") == 1  # nothing ever made it
  (tmp_path / "page").write_text("")
  assert _run(tmp_path, jobs=1, leaf="page") == 0


def test_a_step_s_own_error_comes_through_and_the_rest_is_kept(tmp_path):
  with pytest.raises(BrokenError, match="made of cheese"):
    _run(tmp_path, how="raise")
  assert not (tmp_path / "steps" / "c" / "done.json").exists()
  assert (tmp_path / "steps" / "a" / "done.json").exists()
  begun = (tmp_path / "steps" / "a" / "out").stat().st_mtime_ns
  # Those that had ended or were under way beside it are kept.
  assert 3 <= _run(tmp_path) <= 5
  assert (tmp_path / "steps" / "a" / "out").stat().st_mtime_ns == begun


def test_a_dead_worker_is_named_by_what_it_did(tmp_path):
  with pytest.raises(workers.WorkerError, match=r"worked on .*c.* died"):
    _run(tmp_path, how="die")
  assert _run(tmp_path) >= 4
  assert _outputs(tmp_path)["z"] == "z(b(a()),c(a()),d(a()),e(a()))"


def test_a_worker_ends_with_its_parent(tmp_path):
  child = multiprocessing.get_context("spawn").Process(
      target=_run, args=(tmp_path,), kwargs={"how": "sleep"}
  )
  child.start()
  pid = tmp_path / "steps" / "c" / "pid"
  deadline = time.monotonic() + 60
  while not (pid.exists() and pid.read_text()):
    assert time.monotonic() < deadline
    time.sleep(0.02)
  worker = int(pid.read_text())
  child.kill()
  child.join()
  # A new run begins only when no worker of the old one writes any more.
  workers.check_none_left(tmp_path)
  assert not pathlib.Path(f"/proc/{worker}").exists() or (
      "State:\tZ" in pathlib.Path(f"/proc/{worker}/status").read_text()
  )
  assert _run(tmp_path) >= 2


def test_a_worker_that_stays_is_told_of(tmp_path, monkeypatch):
  import fcntl

  monkeypatch.setattr(workers, "_PATIENCE", 0.2)
  with open(tmp_path / workers.LOCK, "w") as held:
    fcntl.flock(held, fcntl.LOCK_SH)
    with pytest.raises(UsageError, match="still busy there"):
      _run(tmp_path / ".")


def test_timings_name_every_step(tmp_path):
  _run(tmp_path)
  timings = json.loads((tmp_path / "timings.json").read_text())
  assert set(timings) == set("abcdez")
