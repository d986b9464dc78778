"""The other studies as a user runs them, at the smallest size."""

import json
import re
import subprocess
import sys

import pytest

TINY = (
    "--study.vocab_size=1500",
    "--study.model.embed_dim=32",
    "--study.model.num_heads=2",
    "--study.model.num_kv_heads=2",
    "--study.model.head_dim=16",
    "--study.model.mlp_dim=32",
    "--study.pretrain.documents=200",
    "--study.pretrain.epochs=1",
    "--study.tune.epochs=1",
    "--study.max_new_tokens=8",
)
SMALL = {
    "lucky52": (
        "--study.languages=en,zh,es,he", "--study.tuned_languages=en,zh,es",
        "--study.base_languages=en,zh,he", "--study.num_examples=20",
    ),
    "alpaca": (
        "--study.languages=en,zh", "--study.test_languages=en,zh",
        "--study.unseen_languages=he", "--study.base_languages=en,zh,he",
        "--study.num_examples=20",
    ),
    "polyglot": (
        "--study.languages=en,it,es", "--study.num_examples=20",
        "--study.few_examples=6",
    ),
}


def _run(name, workdir, *options):
  return subprocess.run(
      [
          sys.executable, "-m", "mlit_jax.main", "study", f"{name}:pocket",
          "--workdir", str(workdir), *TINY, *SMALL[name], *options,
      ],
      capture_output=True, text=True, check=False,
  )


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_from_data_to_page(name, tmp_path):
  done = _run(name, tmp_path / "run")
  assert done.returncode == 0, done.stderr
  assert "report.html" in done.stdout
  results = json.loads((tmp_path / "run" / "results.json").read_text())
  page = (tmp_path / "run" / "report.html").read_text()
  assert results["study"] == name
  # Every figure and table is numbered, drawn and there as files.
  figures = re.findall(r"Figure (\d+)\. ", page)
  assert figures == [str(i + 1) for i in range(len(figures))]
  assert len(figures) >= 2
  for kind, name_ in re.findall(r'href="(figures|tables)/([\w.-]+)"', page):
    assert (tmp_path / "run" / kind / name_).stat().st_size > 20
  assert page.count("<svg") == len(figures)


@pytest.mark.slow
def test_equal_runs_give_equal_bytes(tmp_path):
  for place in ("one", "two"):
    jobs = {"one": "1", "two": "2"}[place]
    done = _run("lucky52", tmp_path / place, "--jobs", jobs)
    assert done.returncode == 0, done.stderr
  one, two = (
      (tmp_path / place / "results.json").read_bytes()
      for place in ("one", "two")
  )
  assert one == two
