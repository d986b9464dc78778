"""README.md's "Your own data and model", followed to the letter."""

import json
import pathlib
import re
import subprocess
import sys

import pytest

from mlit_jax import main

README = pathlib.Path(__file__).parents[2] / "README.md"
ASKED = {
    "en": ("What is {} plus {}?", "It is {}."),
    "es": ("¿Cuánto es {} más {}?", "Es {}."),
    "he": ("כמה זה {} ועוד {}?", "זה {}."),
}


def _blocks(language):
  text = README.read_text(encoding="utf-8")
  section = text.partition("## Your own data and model")[2].partition("\n## ")
  return re.findall(rf"^```{language}\n(.*?)^```$", section[0], re.M | re.S)


@pytest.fixture
def folder(save_base, tmp_path, monkeypatch):
  """What the user has: 200 rows, and a model that has learnt nothing."""
  rows = []
  for i in range(200):
    number, (lang, (prompt, response)) = i // 3, list(ASKED.items())[i % 3]
    a, b = number % 9 + 1, 7 * number % 11
    rows.append({
        "id": f"sum-{number}", "lang": lang, "prompt": prompt.format(a, b),
        "response": response.format(a + b),
    })
  lines = [json.dumps(row, ensure_ascii=False) for row in rows]
  (tmp_path / "mine.jsonl").write_text(
      "\n".join(lines) + "\n", encoding="utf-8"
  )
  save_base(
      tmp_path / "my_model", [row["prompt"] + row["response"] for row in rows],
      330,
  )
  monkeypatch.chdir(tmp_path)
  return tmp_path


def _commands():
  _, block = _blocks("sh")
  return block.splitlines()


def test_the_rows_shown_are_rows(folder):
  (block,) = _blocks("json")
  first = (folder / "mine.jsonl").read_text(encoding="utf-8").splitlines()[:3]
  assert block.splitlines() == first


def test_the_plan_that_is_shown(folder, capsys):
  head, tail, plan, run = _commands()
  for command in (head, tail):
    subprocess.run(command, shell=True, check=True, cwd=folder)
  assert run.startswith("mlit study pinch:own --workdir runs/own ")
  assert main.main(plan.split()[1:]) == 0
  out, error = capsys.readouterr()
  assert error == ""  # nothing to note about these rows
  # Three monolingual models, three controls, three mixtures.
  assert "training runs: 9 [9]" in out and "to translate: nothing" in out
  (row,) = [x for x in out.splitlines() if x.startswith("open  decode-base")]
  assert row.split()[2] == "50"


@pytest.mark.parametrize("change, words", [
    (("my_model", "model"), "model: not a model directory; it has no config"),
    (("en,es,he", "es,he"), "main_language='en' is not in languages"),
    (("rows:train.jsonl", "rows:missing.jsonl"), "missing.jsonl"),
    (("rows:train.jsonl", "train.jsonl"), "rows:PATH for rows of your own"),
    (("=my_model", "=org/name"), "nothing is fetched from a hub"),
    (("en,es,he", "en,es,Hebrew"), "language 'Hebrew': write 'he' for it"),
    (("pinch:own", "pinch:mine"), "no preset 'mine'; known: pocket, own"),
    (("row_length=128", "row_length=8"), "(150 the whole response)"),
    (("num_examples=50", "num_examples=51"),
     "sources.train=rows:train.jsonl: part 1: "),
    (("num_examples=50", "num_examples=4"), "10 % of 4 is no example"),
    ((" --study.judge=reference", ""), "give --study.judge=KIND:MODEL"),
])
def test_what_goes_wrong_is_one_line(folder, capsys, change, words):
  *split, _, run = _commands()
  for command in split:
    subprocess.run(command, shell=True, check=True, cwd=folder)
  assert change[0] in run
  command = run.replace(*change)
  code = main.main([*command.split()[1:], "--jobs", "1", "--only", "data-*"])
  error = capsys.readouterr().err
  # What is only noted does not stop the study.
  assert code in ((0,) if error.startswith("note: ") else (1, 2))
  (line,) = [x for x in error.splitlines() if not x.startswith("[")]
  assert words in line


@pytest.mark.slow
def test_to_a_report(folder):
  for command in _commands():
    words = command.replace("mlit ", f"{sys.executable} -m mlit_jax.main ", 1)
    done = subprocess.run(
        words, shell=True, cwd=folder, capture_output=True, text=True,
        check=False,
    )
    assert done.returncode == 0, (command, done.stderr)
  assert done.stdout.splitlines()[-1] == "report: runs/own/report.html"
  run = folder / "runs" / "own"
  results = json.loads((run / "results.json").read_text(encoding="utf-8"))
  assert results["systems"]["mono-he"]["counts"] == {"he": 50}
  assert results["exact_match"]["mono-he"]["he"]["n"] == 16
  unnamed = "--study.experiments does not name it"
  assert results["left_out"] == {
      "bilingual": "3 languages do not make pairs",
      **dict.fromkeys(("half", "number", "family", "share"), unnamed),
  }
  page = (run / "report.html").read_text(encoding="utf-8")
  assert "Figure 1." in page and "Hebrew" in page
  assert "reference judge is not a language model" in page
