"""`mlit data build`: one's own rows through a recipe file, and wrong use."""

import json
import re

import pytest

from mlit_jax import main
from mlit_jax.data import manifest, sources, token_file, tokenizers

LANGUAGES = ("en", "es", "fi")


def _mlit(capsys, *argv):
  try:
    code = main.main(["data", *map(str, argv)])
  except SystemExit as e:
    code = e.code
  out, err = capsys.readouterr()
  return code, out, err


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """200 rows a language, and a tokenizer, as a user has them."""
  path = tmp_path_factory.mktemp("own")
  found = sources.pocket_instructions(LANGUAGES, "train")
  lines, texts, ids = [], [], sorted({i for i, _ in found})[:200]
  for id_ in ids:
    for lang in LANGUAGES:
      row = found[id_, lang]
      lines.append(json.dumps({
          "id": id_, "lang": lang, "prompt": row.prompt,
          "response": row.response,
      }, ensure_ascii=False))
      texts += [row.prompt, row.response]
  (path / "own.jsonl").write_text("\n".join(lines) + "\n")
  model = tokenizers.train_sentencepiece(texts, 900)
  (path / "model").mkdir()
  (path / "model" / "tokenizer.model").write_bytes(model.model)
  return path


def _recipe(folder, name, recipe):
  path = folder / name
  path.write_text(json.dumps(recipe))
  return path


def _build(capsys, folder, recipe, workdir, *more):
  return _mlit(
      capsys, "build", recipe, "--source", f"own=rows:{folder / 'own.jsonl'}",
      "--tokenizer", folder / "model", "--workdir", workdir, *more,
  )


def test_own_rows_in_three_languages(capsys, folder, tmp_path):
  recipe = _recipe(folder, "even.json", {"validation": 20, "parts": [{
      "source": "own", "design": "partition",
      "counts": {"rule": "even", "languages": LANGUAGES, "total": 150},
  }]})
  code, _, err = _build(capsys, folder, recipe, tmp_path / "d")
  assert code == 0, err
  train = manifest.read(tmp_path / "d")
  assert train.counts == dict.fromkeys(LANGUAGES, 50)
  held = manifest.read(tmp_path / "d" / "validation")
  assert held.counts == dict.fromkeys(LANGUAGES, 20)
  assert not {r.id for r in train.rows} & {r.id for r in held.rows}
  files = token_file.TokenFile(tmp_path / "d")
  assert [e.id for e in files] == [r.id for r in train.rows]
  assert files[0].id.startswith("own/")
  origin = files.summary["origin"]
  assert origin["manifest_sha256"] == train.hash
  assert origin["recipe"] == json.loads(recipe.read_text())
  assert (tmp_path / "d" / "tokenizer.model").exists()
  code, out, _ = _mlit(
      capsys, "show", tmp_path / "d", "--row_length", 96, "--samples", 0
  )
  assert code == 0
  said = re.search(
      r"packed: (\d+) rows of 96 tokens hold 150 examples \(([\d.]+) a row\),"
      r" ([\d.]+) % of the places used; one example a row would use ([\d.]+) %",
      out,
  )
  used = int((files.lengths - 1).sum())
  number = int(said[1])
  assert used / 96 <= number < 150
  assert float(said[2]) == pytest.approx(150 / number, abs=0.06)
  assert float(said[3]) == pytest.approx(100 * used / 96 / number, abs=0.06)
  assert float(said[4]) == pytest.approx(100 * used / 96 / 150, abs=0.06)
  # Again, in shards and processes: the same examples.
  code, _, err = _build(
      capsys, folder, recipe, tmp_path / "e", "--shards", 3, "--jobs", 2
  )
  assert code == 0, err
  again = token_file.TokenFile(tmp_path / "e")
  assert [e.to_bytes() for e in again] == [e.to_bytes() for e in files]
  assert _mlit(capsys, "diff", tmp_path / "d", tmp_path / "e")[0] == 0


def test_own_rows_beside_the_pocket_world(capsys, folder, tmp_path):
  recipe = _recipe(folder, "two.json", {"parts": [
      {"source": "own", "design": "parallel", "counts": {"en": 30, "fi": 30}},
      {"source": "pocket", "design": "parallel", "counts": {"sw": 25}},
  ]})
  assert _build(capsys, folder, recipe, tmp_path / "d")[0] == 0
  assert manifest.read(tmp_path / "d").counts == {"en": 30, "fi": 30, "sw": 25}


def test_whole_conversations_in_a_template_with_special_tokens(
    capsys, folder, tmp_path
):
  turns = [
      {"role": role, "content": f"{role} {n}"}
      for n in range(2) for role in ("user", "assistant")
  ]
  rows = tmp_path / "rows.jsonl"
  rows.write_text("".join(
      json.dumps({"id": f"{n}", "lang": "en", "messages": turns}) + "\n"
      for n in range(3)
  ))
  recipe = _recipe(tmp_path, "r.json", {"parts": [
      {"source": "own", "design": "parallel", "counts": {"en": 3}},
  ]})
  ends = []
  for kind in ("rows", "rows[columns=messages=messages]"):
    code, _, err = _mlit(
        capsys, "build", recipe, "--source", f"own={kind}:{rows}",
        "--tokenizer", folder / "model", "--workdir", tmp_path / "d",
        "--template", "llama2",
    )
    assert code == 0, err
    example = token_file.TokenFile(tmp_path / "d")[0]
    ends.append(example.tokens[example.loss_mask == 1].tolist().count(2))
  assert ends == [2, 2]
  shown = _mlit(capsys, "show", tmp_path / "d", "--samples", 1)[1]
  assert shown.endswith(
      " [en]\n  [INST] user 0 [/INST]\n  -> assistant 0\n"
      "  [INST] user 1 [/INST]\n  -> assistant 1\n"
  )
  code, _, err = _mlit(
      capsys, "build", recipe, "--source", f"own=rows:{rows}", "--tokenizer",
      folder / "model", "--workdir", tmp_path / "e", "--template", "chatml",
  )
  assert (code, err.count("\n")) == (2, 1)
  assert "needs the token '<|im_start|>', which this tokenizer lacks" in err
  assert not list((tmp_path / "e").glob("*.array_record"))


def test_too_few_rows_are_said_by_language(capsys, folder, tmp_path):
  recipe = _recipe(folder, "many.json", {"parts": [
      {"source": "own", "design": "parallel", "counts": {"fi": 230}},
  ]})
  code, _, err = _build(capsys, folder, recipe, tmp_path / "d")
  assert code == 2
  assert "fi has 200 ids and 230 are needed: short by 30" in err


def test_bad_rows_are_fatal_or_set_aside(capsys, folder, tmp_path):
  rows = (folder / "own.jsonl").read_text()
  bad = tmp_path / "bad.jsonl"
  bad.write_text(rows + '{"id": "x", "lang": "en"}\nnot json\n')
  recipe = _recipe(tmp_path, "r.json", {"parts": [
      {"source": "own", "design": "parallel", "counts": {"en": 30}},
  ]})
  options = (
      "build", recipe, "--source", f"own=rows:{bad}", "--tokenizer",
      folder / "model", "--workdir", tmp_path / "d",
  )
  code, _, err = _mlit(capsys, *options)
  assert code == 1 and err.count("\n") == 1 and "bad.jsonl:601" in err
  code, _, err = _mlit(capsys, *options, "--max_bad", 2)
  assert code == 0, err
  aside = (tmp_path / "d" / "bad_rows" / "own.jsonl").read_text()
  assert aside.count("\n") == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("r.json",), "cannot be read"),
        (("even.json", "--source", "own"), "write NAME=READER:PATH"),
        (
            ("even.json", "--source", "own=rows[turns]:x"),
            "READER[OPTION=VALUE;...]:PATH",
        ),
        (("even.json",), "need --tokenizer DIR"),
        (
            ("percent:1", "--template", "checkpoint"),
            "the template 'checkpoint' needs a model's directory",
        ),
        (("even.json", "--tokenizer", "model"), "needs the source 'own'"),
        (("percent:1", "--shards", "0"), "--shards must be at least 1"),
        (("percent:1", "--too_long", "x"), "invalid choice"),
    ],
)
def test_wrong_use(capsys, folder, tmp_path, monkeypatch, arguments, words):
  monkeypatch.chdir(folder)
  _recipe(folder, "even.json", {"parts": [{
      "source": "own", "design": "parallel", "counts": {"en": 3}}]})
  code, _, err = _mlit(
      capsys, "build", *arguments, "--workdir", tmp_path / "d"
  )
  assert code == 2
  assert words in err
  assert err.count("\n") == 1
  assert not (tmp_path / "d").exists()


def test_the_readers_are_listed(capsys):
  out = _mlit(capsys, "sources")[1]
  assert "bactrian" in out and "moses" in out
  assert "Bactrian" in _mlit(capsys, "sources", "bactrian")[1]
