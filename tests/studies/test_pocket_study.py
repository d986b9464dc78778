"""`mlit study pinch:pocket` as a user runs it: killed, resumed, repeated."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

# The study's shape at the smallest size: two languages, seconds of training.
TINY = (
    "--study.languages=en,es",
    "--study.percents=10",
    "--study.num_examples=120",
    "--study.vocab_size=900",
    "--study.shape.embed_dim=32",
    "--study.shape.num_heads=2",
    "--study.shape.num_kv_heads=2",
    "--study.shape.head_dim=16",
    "--study.shape.mlp_dim=32",
    "--study.shape.num_layers=2",
    "--study.pretrain.documents=300",
    "--study.pretrain.epochs=4",
    "--study.pretrain.checkpoint_every=40",
    "--study.tune.epochs=1",
    "--study.max_new_tokens=12",
)


def _command(workdir: pathlib.Path, *options: str) -> list[str]:
  return [
      sys.executable, "-m", "mlit_jax.main", "study", "pinch:pocket",
      "--workdir", str(workdir), *TINY, *options,
  ]


def _run(workdir: pathlib.Path, *options: str) -> subprocess.CompletedProcess:
  done = subprocess.run(
      _command(workdir, *options), capture_output=True, text=True, check=False
  )
  assert done.returncode == 0, done.stderr
  return done


def _kill_when(workdir: pathlib.Path, reached, alone: bool = False) -> None:
  """Starts the study and kills it once `reached()`.

  With all it started, or `alone`: its workers must notice by themselves.
  """
  process = subprocess.Popen(
      _command(workdir),
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
      start_new_session=True,
  )
  deadline = time.monotonic() + 300
  while not reached():
    assert process.poll() is None, "the study ended before it could be killed"
    assert time.monotonic() < deadline
    time.sleep(0.01)
  kill = os.kill if alone else os.killpg
  kill(process.pid, signal.SIGKILL)
  process.wait()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> pathlib.Path:
  workdir = tmp_path_factory.mktemp("undisturbed") / "run"
  _run(workdir)
  return workdir


def test_leaves_what_it_promises(undisturbed):
  results = json.loads((undisturbed / "results.json").read_text())
  assert results["languages"] == ["en", "es"]
  counts = {k: v.get("counts") for k, v in results["systems"].items()}
  assert counts["mono-es"] == {"es": 120}
  assert counts["p10"] == {"en": 114, "es": 6}
  assert set(results["heat_map"]["mono-en"]) == {"es"}
  assert results["heat_map"]["mono-en"]["es"]["n"] == 60
  assert results["judge"]["is_language_model"] is False
  for name in ("report.html", "answers.jsonl", "timings.json"):
    assert (undisturbed / name).stat().st_size > 0
  for name in ("heat_map", "percent_curve", "base_and_control"):
    assert (undisturbed / "figures" / f"{name}.png").exists()
    assert (undisturbed / "figures" / f"{name}.pdf").exists()
  assert (undisturbed / "tables" / "heat_map.csv").exists()
  assert "not a language model" in (undisturbed / "report.html").read_text()


@pytest.mark.long
def test_killed_twice_it_ends_with_the_same_bytes(undisturbed, tmp_path):
  workdir = tmp_path / "run"
  steps = workdir / "steps"
  checkpoints = steps / "model-base" / "checkpoints"

  _kill_when(workdir, lambda: (checkpoints / "40").exists())
  assert not (steps / "model-base" / "done.json").exists()

  started = steps / "decode-mono-en" / "started.json"
  _kill_when(workdir, started.exists, alone=True)
  done = {path.parent: path.stat().st_mtime_ns for path in
          steps.glob("*/done.json")}
  assert steps / "model-base" in done
  assert not (workdir / "results.json").exists()

  _run(workdir)
  for step, when in done.items():
    assert (step / "done.json").stat().st_mtime_ns == when, f"{step} was redone"
  for name in ("results.json", "answers.jsonl", "judgments.jsonl"):
    assert (workdir / name).read_bytes() == (undisturbed / name).read_bytes()


@pytest.mark.slow
def test_one_job_gives_the_same_bytes(undisturbed, tmp_path):
  """At this size: no sum here is long enough to be split over threads."""
  _run(tmp_path / "run", "--jobs=1")
  for name in ("results.json", "answers.jsonl", "judgments.jsonl"):
    mine = (tmp_path / "run" / name).read_bytes()
    assert mine == (undisturbed / name).read_bytes()


def test_a_lost_page_is_made_again(undisturbed):
  page = undisturbed / "report.html"
  before = page.read_bytes()
  page.unlink()
  done = _run(undisturbed)
  assert "steps were done before" in done.stderr
  assert page.read_bytes() == before


def test_a_second_run_does_nothing(undisturbed):
  before = (undisturbed / "results.json").stat().st_mtime_ns
  done = _run(undisturbed)
  assert "steps were done before" in done.stderr
  assert (undisturbed / "results.json").stat().st_mtime_ns == before


@pytest.mark.slow
def test_another_seed_differs(undisturbed, tmp_path):
  _run(tmp_path / "run", "--study.seed=1")
  theirs = json.loads((tmp_path / "run" / "results.json").read_text())
  ours = json.loads((undisturbed / "results.json").read_text())
  assert theirs["systems"]["mono-en"]["counts"] == {"en": 120}
  assert theirs["base"]["final_loss"] != ours["base"]["final_loss"]
  assert theirs["exact_match"] != ours["exact_match"] or (
      theirs["heat_map"] != ours["heat_map"]
  )


@pytest.mark.long
def test_a_changed_config_is_refused_and_update_redoes_only_what_it_changes(
    undisturbed,
):
  held = (undisturbed / "results.json").read_bytes()
  command = _command(undisturbed, "--study.max_new_tokens=8")
  done = subprocess.run(command, capture_output=True, text=True, check=False)
  assert done.returncode == 2
  assert done.stderr.count("\n") == 1
  assert "max_new_tokens=12 (now 8)" in done.stderr
  assert "--update" in done.stderr
  assert (undisturbed / "results.json").read_bytes() == held

  trained = undisturbed / "steps" / "model-base" / "done.json"
  decoded = undisturbed / "steps" / "decode-base" / "done.json"
  before = trained.stat().st_mtime_ns, decoded.stat().st_mtime_ns
  _run(undisturbed, "--study.max_new_tokens=8", "--update")
  assert trained.stat().st_mtime_ns == before[0]
  assert decoded.stat().st_mtime_ns != before[1]


@pytest.mark.long
def test_a_given_base_and_rows_of_ones_own(undisturbed, tmp_path):
  """From a model directory and JSONL files to a page."""
  from mlit_jax.data import sources

  for name, split in (("train", "train"), ("eval", "eval")):
    rows = sources.pocket_instructions(("en", "es", "it"), split)
    ids = list(dict.fromkeys(id_ for id_, _ in rows))[:12]
    lines = [
        json.dumps({
            "id": row.id, "lang": row.lang, "prompt": row.prompt,
            "response": row.response,
        })
        for (id_, _), row in rows.items() if id_ in ids
    ]
    (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
  base = undisturbed / "steps" / "model-base" / "model"
  command = [
      sys.executable, "-m", "mlit_jax.main", "study", "pinch:pocket",
      "--workdir", str(tmp_path / "run"), f"--study.base={base}",
      "--study.languages=en,es,it", "--study.train=mine",
      f"--study.sources.mine=rows:{tmp_path}/train.jsonl",
      "--study.evaluation=held",
      f"--study.sources.held=rows:{tmp_path}/eval.jsonl",
      "--study.num_examples=12", "--study.percents=50",
      "--study.experiments=percent", "--study.controls=false",
      "--study.tune.epochs=1", "--study.max_new_tokens=6", "--jobs", "1",
  ]
  done = subprocess.run(command, capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr
  results = json.loads((tmp_path / "run" / "results.json").read_text())
  assert results["systems"]["mono-it"]["counts"] == {"it": 12}
  assert set(results["systems"]["p50"]["counts"]) == {"en", "es", "it"}
  assert results["base"]["parameters"] > 0
  assert "pre-trained on" not in (tmp_path / "run" / "report.html").read_text()
