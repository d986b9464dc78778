"""Its tasks on real rows, and the lm_eval command: our model and its own."""

import json
import pathlib

import pytest

from mlit_jax.evals import multiple_choice

pytest.importorskip("torch")
pytest.importorskip("transformers")
lm_eval = pytest.importorskip("lm_eval")
pytestmark = [pytest.mark.torch, pytest.mark.long]

import random_models  # noqa: E402

THEIRS = pathlib.Path(lm_eval.__file__).parent / "tasks"
SHARED = pathlib.Path(__file__).parents[3] / "shared" / "data"
LIMIT = 20
XCOPA, XWINOGRAD = ("et", "sw", "zh"), ("en", "fr")


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
  """A folder with the harness's own tasks over real rows, and their names."""
  if not (SHARED / "xcopa").exists() or not (SHARED / "xwinograd").exists():
    pytest.skip("needs ../shared/data/xcopa and xwinograd")
  folder, names = tmp_path_factory.mktemp("tasks"), []
  for lang in XCOPA:
    path = SHARED / "xcopa" / f"test.{lang}.jsonl"
    names.append(_task(folder, f"xcopa/default_{lang}.yaml", path))
  for lang in XWINOGRAD:
    # The hub's fields, from the authors' table.
    path = folder / f"xwinograd.{lang}.jsonl"
    path.write_text("".join(
        json.dumps(row.data) + "\n"
        for row in multiple_choice.XWINOGRAD.rows(lang, SHARED)
    ))
    names.append(_task(folder, f"xwinograd/xwinograd_{lang}.yaml", path))
  return folder, names


def _task(folder, include, path):
  name = f"local_{path.name.replace('.', '_')}"
  (folder / f"{name}.yaml").write_text(
      f"include: {THEIRS / include}\ntask: {name}\ndataset_path: json\n"
      "dataset_name: null\nvalidation_split: null\n"
      f"dataset_kwargs: {{data_files: {{test: {path}}}}}\n"
  )
  return name


def _evaluated(model, tasks):
  """Task -> (accuracy, [[(sum, greedy), (sum, greedy)] for each row])."""
  from lm_eval import evaluator
  from lm_eval.tasks import TaskManager

  folder, names = tasks
  found = evaluator.simple_evaluate(
      model=model, tasks=names, bootstrap_iters=0, log_samples=True,
      limit=LIMIT,
      task_manager=TaskManager(
          include_path=str(folder), include_defaults=False
      ),
  )
  return {
      name: (
          found["results"][name]["acc,none"],
          [[r[0] for r in row["resps"]] for row in found["samples"][name]],
      )
      for name in names
  }


@pytest.mark.parametrize("shape", random_models.SHAPES)
def test_real_rows_score_as_with_its_own_model(shape, tasks, tmp_path):
  """Sums within 1e-4, greedy flags, the likeliest option, the accuracy."""
  from mlit_jax.evals import harness

  place = random_models.write(shape, tmp_path / "model", max_length=512)
  mine = _evaluated(harness.MlitLM(str(place), batch_size=8), tasks)
  theirs = _evaluated(random_models.harness(place), tasks)
  choices = set()
  for name, (accuracy, rows) in mine.items():
    other, want = theirs[name]
    assert accuracy == other and len(rows) == LIMIT, name
    for row, expected in zip(rows, want, strict=True):
      sums, flags = zip(*row, strict=True)
      their_sums, their_flags = zip(*expected, strict=True)
      assert sums == pytest.approx(their_sums, abs=1e-4), name
      assert flags == their_flags, name
      choice = sums.index(max(sums))
      assert choice == their_sums.index(max(their_sums)), name
      choices.add(choice)
  assert choices == {0, 1}


def test_the_command_runs_a_task_both_ways(tasks, tmp_path, monkeypatch):
  from mlit_jax.evals import harness

  folder, (name, *_) = tasks
  place = random_models.write("llama", tmp_path / "model", max_length=512)
  monkeypatch.setenv("HF_HUB_OFFLINE", "1")
  found = []
  for model, more in (
      ("mlit", [f"pretrained={place}"]),
      ("hf", [f"pretrained={place},dtype=float32", "--device", "cpu"]),
  ):
    output = tmp_path / model
    monkeypatch.setattr("sys.argv", [
        "lm_eval", "run", "--model", model, "--model_args", *more,
        "--batch_size", "8", "--tasks", name, "--include_path", str(folder),
        "--limit", str(LIMIT), "--log_samples", "--output_path", str(output),
    ])
    assert harness.main() == 0
    (path,) = output.rglob("results_*.json")
    results = json.loads(path.read_text())["results"][name]
    (path,) = output.rglob("samples_*.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(rows) == LIMIT
    sums = [
        float(score) for row in sorted(rows, key=lambda row: row["doc_id"])
        for ((score, _),) in row["resps"]
    ]
    found.append((results["acc,none"], results["acc_stderr,none"], sums))
  (*mine, sums), (*theirs, their_sums) = found
  assert mine == theirs
  assert sums == pytest.approx(their_sums, abs=1e-4)
