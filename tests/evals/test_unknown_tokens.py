"""Texts that a tokenizer has no tokens for are counted wherever they are read.

And what is cut or not there in the probe of representations.
"""

import json

import pytest

from mlit_jax import main

pytest.importorskip("lm_eval", reason="the extra `test` has it")
pytestmark = pytest.mark.torch

import random_models  # noqa: E402

LINE, STRANGE = random_models.LINES[0], "☃☃☃"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
  """A LLaMA whose tokenizer does not fall back to bytes."""
  place = random_models.write("llama", tmp_path_factory.mktemp("model"))
  path = place / "tokenizer.json"
  tokenizer = json.loads(path.read_text())
  assert tokenizer["model"]["byte_fallback"]
  tokenizer["model"] |= {"byte_fallback": False, "fuse_unk": False}
  path.write_text(json.dumps(tokenizer))
  return str(place)


def score(model, rows, tmp_path, *more):
  source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
  source.write_text("".join(json.dumps(row) + "\n" for row in rows))
  assert main.main([
      "score", "--model", model, "--input", str(source), "--output", str(out),
      *more,
  ]) == 0
  found = map(json.loads, out.read_text().splitlines())
  return {row["id"]: row.get("unknown") for row in found}


def test_score_counts_them(model, tmp_path, capsys):
  assert score(model, [
      {"id": "known", "context": LINE, "continuation": "The"},
      {"id": "context", "context": STRANGE, "continuation": "The"},
      {"id": "both", "context": STRANGE, "continuation": STRANGE[0]},
  ], tmp_path) == {"known": None, "context": 3, "both": 4}
  said = capsys.readouterr().out
  assert "7 tokens of 2 rows are unknown to the tokenizer" in said
  # Of a text of several windows, whose contexts overlap, each once.
  texts = {"known": LINE, "long": f"{STRANGE} {LINE * 8} {STRANGE}"}
  rows = [{"id": i, "text": text} for i, text in texts.items()]
  assert score(model, rows, tmp_path, "--rolling") == {
      "known": None, "long": 6,
  }
  assert "6 tokens of 1 rows" in capsys.readouterr().out


def test_eval_counts_items_with_them(model, tmp_path, capsys):
  data = tmp_path / "data"
  for path, lines in {
      "mgsm_sw.tsv": ["Moja?\t3", f"{STRANGE}?\t4"],
      "xcopa/test.et.jsonl": [
          json.dumps({
              "premise": premise, "choice1": "a", "choice2": "b",
              "question": "cause", "label": 0, "idx": i,
          })
          for i, premise in enumerate((LINE, STRANGE, "The item."))
      ],
      "flores/devtest/eng_Latn.devtest": ["The item.", LINE, LINE * 20],
      "flores/devtest/est_Latn.devtest": ["leidis.", STRANGE, "El hombre."],
  }.items():
    (data / path).parent.mkdir(parents=True, exist_ok=True)
    (data / path).write_text("".join(line + "\n" for line in lines))
  tasks = "mgsm:direct,xcopa:harness,representation"
  assert main.main([
      "eval", tasks, "--model", model, "--data", str(data), "--output",
      str(tmp_path / "out"), "--batch_size", "4",
  ]) == 0
  results = json.loads((tmp_path / "out" / "results.json").read_text())
  found = {
      name: (entry["n"], entry.get("unknown"), entry.get("cut"))
      for name, by_lang in results.items() for entry in by_lang.values()
  }
  assert found == {
      # Its own words have a colon, which this tokenizer does not know.
      "mgsm:direct": (2, 2, None), "xcopa": (3, 1, None),
      "representation": (3, 1, 1),
  }
  said = capsys.readouterr().out
  line = next(x for x in said.splitlines() if x.startswith("xcopa et"))
  assert line.endswith("of 3, 1 with tokens that the tokenizer does not know")
  assert "representation: no file for 105 of 106: af am " in said
