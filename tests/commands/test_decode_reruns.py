"""mlit decode: what is there already, and what rows say of themselves."""

import fcntl
import json

import pytest
import small_tokenizers

from mlit_jax import main
from mlit_jax.decoding.engine import Engine
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.interchange import huggingface

LINES = [
    "What is the capital of France?", "¿Cuál es la capital de Perú?",
    "Mji mkuu wa Kenya ni upi?", "Name a fruit.",
]


@pytest.fixture(scope="module")
def model(tmp_path_factory, random_params):
  config = DecoderConfig(
      100, num_layers=2, embed_dim=16, num_heads=4, num_kv_heads=2, head_dim=6,
      mlp_dim=20, max_length=64,
  )
  place = tmp_path_factory.mktemp("decode") / "tiny"
  huggingface.save(
      place, config, random_params(config, seed=3),
      small_tokenizers.sentencepiece_model(LINES * 20, vocab_size=100),
      bos_id=1, eos_id=2,
  )
  return place


def write(path, rows):
  path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
  return str(path)


def read(path):
  return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.fixture
def prompts(tmp_path):
  return write(
      tmp_path / "in.jsonl",
      [
          {"id": f"{i}", "lang": "en", "prompt": text}
          for i, text in enumerate(LINES)
      ],
  )


def decode(model, prompts, out, *more):
  return main.main([
      "decode", "--model", str(model), "--input", prompts, "--output", str(out),
      "--max_new_tokens", "8", "--batch_size", "4", *more,
  ])


def test_an_id_that_stands_in_two_shares_is_answered_once(model, tmp_path):
  row = {"id": "a", "lang": "en", "prompt": LINES[0]}
  source = write(tmp_path / "in.jsonl", [row, row | {"prompt": LINES[1]}])
  out = tmp_path / "out.jsonl"
  assert decode(model, source, out, "--share", "0/2") == 0
  assert [row.get("failure", "") for row in read(out)] == [""]
  other = tmp_path / "other.jsonl"
  assert decode(model, source, other, "--share", "1/2") == 1
  (row,) = read(other)
  assert row["failure"].startswith("the id 'a' stands twice in en; give each")


@pytest.mark.long
def test_what_is_done_is_not_done_again_nor_written_over(
    model, prompts, tmp_path, capsys, monkeypatch
):
  out = tmp_path / "out.jsonl"
  assert decode(model, prompts, out) == 0
  assert capsys.readouterr().out == f"4 responses: {out}\n"
  files = {
      p.name: p.read_bytes() for p in tmp_path.iterdir()
  }
  assert sorted(files) == ["in.jsonl", "out.jsonl", "out.jsonl.summary.json"]

  run = json.loads(files["out.jsonl.summary.json"])["run"]
  part = tmp_path / "out.jsonl.part"

  def never(*args, **kwargs):
    raise AssertionError("decoded again")

  with monkeypatch.context() as patch:
    patch.setattr(Engine, "generate", never)
    assert decode(model, prompts, out) == 0
    assert capsys.readouterr().out == f"done before: 4 responses: {out}\n"
    for more, told in (
        (["--temperature", "0.5"], "with other options; remove it, or write"),
        (["--name", "b", "--batch_size", "2"], "with other batch_size, name;"),
    ):
      assert decode(model, prompts, out, *more) == 2
      assert f"{out}: holds the answers of a run {told}" in (
          capsys.readouterr().err
      )
    # Another input under the same name.
    text = files["in.jsonl"].decode().replace("fruit", "city")
    (tmp_path / "in.jsonl").write_text(text, "utf-8")
    assert decode(model, prompts, out) == 2
    assert "with other input;" in capsys.readouterr().err
    (tmp_path / "in.jsonl").write_bytes(files["in.jsonl"])
    (tmp_path / "out.jsonl.summary.json").unlink()
    for left in ("", '{"run":{}}\n{"row":0,"response":{}}\n'):
      part.write_text(left)
      assert decode(model, prompts, out) == 2
      assert "is there already, without a summary" in capsys.readouterr().err
    part.unlink()
    for text in ("[]", '{"run": {}}', json.dumps({"run": run})):
      (tmp_path / "out.jsonl.summary.json").write_text(text)
      assert decode(model, prompts, out) == 2
      assert "is there already, without a summary" in capsys.readouterr().err
    (tmp_path / "out.jsonl.summary.json").unlink()
  assert {
      p.name: p.read_bytes() for p in tmp_path.iterdir()
  } == {k: v for k, v in files.items() if not k.endswith("summary.json")}


def test_rows_that_failed_still_fail_the_next_time(model, tmp_path, capsys):
  source = write(tmp_path / "in.jsonl", [{"id": "a", "lang": "en"}])
  out = tmp_path / "out.jsonl"
  assert decode(model, source, out) == 1
  assert decode(model, source, out) == 1
  assert "done before: 0 responses, 1 failed" in capsys.readouterr().err


@pytest.mark.long
def test_an_edited_template_is_another_one(model, prompts, tmp_path, capsys):
  template, out = tmp_path / "t.toml", tmp_path / "out.jsonl"
  template.write_text('before = {user = "Q: "}\n')
  more = "--template", str(template)
  assert decode(model, prompts, out, *more) == 0
  (row, *rest), part = read(out), tmp_path / "out.jsonl.part"
  run = json.loads((tmp_path / "out.jsonl.summary.json").read_text())["run"]
  template.write_text('before = {user = "Frage: "}\n')
  assert decode(model, prompts, out, *more) == 2
  assert "with other template; remove it" in capsys.readouterr().err
  # The same while it is under way.
  out.unlink()
  write(part, [{"run": run}, {"row": 0, "response": row}])
  assert decode(model, prompts, out, *more) == 2
  assert "part: begun with other template" in capsys.readouterr().err
  template.write_text('# A note.\nbefore = {user = "Q: "}\n')
  assert decode(model, prompts, out, *more) == 0
  assert read(out) == [row, *rest]


def test_two_processes_do_not_write_one_output(
    model, prompts, tmp_path, capsys
):
  part = tmp_path / "out.jsonl.part"
  with open(part, "w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    assert decode(model, prompts, tmp_path / "out.jsonl") == 2
  assert f"{part}: another mlit decode is writing it" in capsys.readouterr().err
  assert part.exists()


@pytest.mark.parametrize(
    "lines, number",
    [
        (["5"], 1), (['{"run": 3}'], 1), (["{}"], 1),
        (['{"run": {}}', '{"row": 0, "resp'], 2), (['{"run": {}}', "{}"], 2),
        (['{"run": {}}', '{"row": [], "response": {}}'], 2),
        (['{"run": {}}', '{"row": 0, "response": {"id": "0"}}'], 2),
        (['{"run": {}}', '{"row": 4, "response": WHOLE}'], 2),
        (['{"run": {}}', '{"row": "0", "response": WHOLE}'], 2),
        (['{"run": {}}', '{"response": WHOLE}'], 2),
    ],
)
def test_a_damaged_part_is_told(
    model, prompts, tmp_path, capsys, lines, number
):
  part = tmp_path / "out.jsonl.part"
  whole = {
      "id": "0", "lang": "en", "model": "tiny", "response": "a",
      "finish_reason": "stop", "num_tokens": 1,
  }
  lines = [line.replace("WHOLE", json.dumps(whole)) for line in lines]
  part.write_text("".join(line + "\n" for line in lines))
  assert decode(model, prompts, tmp_path / "out.jsonl") == 2
  assert f"{part}:{number}: damaged; remove the file" in capsys.readouterr().err
  assert part.read_text().splitlines() == lines


@pytest.mark.long
def test_rows_say_how_they_are_answered(model, tmp_path):
  """As one file each, with what the row says as the command's options."""
  own = [
      {}, {"max_new_tokens": 3},
      {"temperature": 2.0, "seed": 5, "top_k": 50, "top_p": 0.9, "min_p": 0.01},
      {"repetition_penalty": 9.5}, {"stop": "a"}, {"stop": ["a", "e"]},
  ]
  rows = [
      {"id": f"{i}", "lang": "en", "prompt": LINES[i % 3]} | said
      for i, said in enumerate(own)
  ]
  out = tmp_path / "out.jsonl"
  more = "--temperature", "1.5", "--seed", "3"
  assert decode(model, write(tmp_path / "in", rows), out, *more) == 0
  found = read(out)
  for i, said in enumerate(own):
    source = write(tmp_path / f"in{i}", [
        {k: rows[i][k] for k in ("id", "lang", "prompt")}
    ])
    options = []
    for name, value in said.items():
      for one in value if isinstance(value, list) else [value]:
        options += [f"--{name}", str(one)]
    alone = tmp_path / f"out{i}.jsonl"
    assert decode(model, source, alone, *more, *options) == 0
    assert read(alone) == [found[i]], said
  assert found[1]["num_tokens"] <= 3 < found[0]["num_tokens"]


@pytest.mark.parametrize(
    "said, beams, told",
    [
        ({"temperature": -1}, 1, "temperature must be a number from 0 up, not"),
        ({"temperature": "hot"}, 1, "a number from 0 up, not 'hot'"),
        ({"max_new_tokens": 0}, 1, "must be a whole number from 1 up, not 0"),
        ({"max_new_tokens": True}, 1, "a whole number from 1 up, not True"),
        ({"top_p": 0}, 1, "top_p must be above 0 and at most 1, not 0"),
        ({"temperature": 10**400}, 1, "temperature must be a number from 0 up"),
        ({"temperature": 1e-300}, 1, "temperature must be a number from 0 up"),
        ({"top_k": 2**40}, 1, "top_k must be a whole number from 0 up"),
        ({"repetition_penalty": 1e39}, 1, "repetition_penalty must be a num"),
        ({"seed": 1.5}, 1, "seed must be a whole number, not 1.5"),
        ({"stop": [""]}, 1, "stop must be text, or a list of texts, none of"),
        ({"temperature": 1}, 2, "temperature: --beams knows no such thing"),
        ({"max_new_tokens": 64}, 1, "64 new tokens leave no room for a prompt"),
    ],
)
def test_what_a_row_says_wrongly_fails_it_alone(
    model, tmp_path, said, beams, told
):
  rows = [
      {"id": "a", "lang": "en", "prompt": LINES[0]} | said,
      {"id": "b", "lang": "en"},
  ]
  out = tmp_path / "out.jsonl"
  source = write(tmp_path / "in.jsonl", rows)
  assert decode(model, source, out, "--beams", f"{beams}") == 1
  first, second = read(out)
  assert told in first["failure"] and second["failure"]
