"""mlit decode: streamed, resumed, adapters, rows that fail alone."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import flax.linen as nn
import jax
import numpy as np
import pytest
import small_tokenizers

from mlit_jax import main, records
from mlit_jax.commands import decode as decode_command
from mlit_jax.data import tokenizers
from mlit_jax.models import lora
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.interchange import huggingface, peft
from mlit_jax.studies import answer_file, answering

LINES = [
    "What is the capital of France?", "¿Cuál es la capital de Perú?",
    "Какая столица России?", "Mji mkuu wa Kenya ni upi?", "Name a fruit.",
] * 20
LORA = lora.LoraConfig(rank=2)


@pytest.fixture(scope="module")
def config():
  return DecoderConfig(
      100, num_layers=2, embed_dim=16, num_heads=4, num_kv_heads=2, head_dim=6,
      mlp_dim=20, max_length=64,
  )


@pytest.fixture(scope="module")
def model(tmp_path_factory, config, random_params):
  place = tmp_path_factory.mktemp("decode") / "tiny"
  # Without bytes to fall back to, so that it lacks scripts.
  model = small_tokenizers.sentencepiece_model(LINES, vocab_size=100)
  huggingface.save(
      place, config, random_params(config, seed=3), model, bos_id=1, eos_id=2
  )
  return place


@pytest.fixture(scope="module")
def adapters(tmp_path_factory, config):
  """Two PEFT directories."""
  places = []
  for seed in range(2):
    rng = np.random.default_rng(seed)
    shapes = nn.meta.unbox(jax.eval_shape(lambda: lora.init(config, LORA, 0)))
    tree = jax.tree.map(
        lambda x, rng=rng: rng.standard_normal(x.shape).astype("float32"),
        shapes,
    )
    places.append(tmp_path_factory.mktemp("adapters") / f"a{seed}")
    peft.save_adapter(places[-1], config, LORA, tree)
  return places


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
          for i, text in enumerate(LINES[:5])
      ],
  )


def decode(model, prompts, out, *more):
  return main.main([
      "decode", "--model", str(model), "--input", prompts, "--output", str(out),
      "--max_new_tokens", "8", "--batch_size", "4", *more,
  ])


@pytest.mark.long
def test_answers_in_the_order_of_the_prompts_with_a_summary(
    model, prompts, tmp_path, capsys
):
  out = tmp_path / "out.jsonl"
  assert decode(model, prompts, out) == 0
  rows = read(out)
  assert [row["id"] for row in rows] == ["0", "1", "2", "3", "4"]
  assert {row["model"] for row in rows} == {"tiny"}
  assert len({row["response"] for row in rows}) > 2
  summary = json.loads((tmp_path / "out.jsonl.summary.json").read_text())
  assert summary["answers"] == 5 and summary["failed"] == 0
  tokens = [row["num_tokens"] for row in rows]
  assert summary["tokens"]["total"] == sum(tokens)
  assert summary["tokens"]["longest"] == max(tokens) <= 8
  assert sum(summary["finish_reasons"].values()) == 5
  assert list(summary["by_language"]) == ["en"]
  assert not (tmp_path / "out.jsonl.part").exists()
  assert f"5 responses: {out}" in capsys.readouterr().out


def test_rows_fail_alone(model, tmp_path, capsys):
  rows = [
      {"id": "good", "lang": "en", "prompt": LINES[0]},
      {"id": "empty", "lang": "en", "prompt": " "},
      {"lang": "en", "prompt": "who am I?"},
      {"id": "long", "lang": "en", "prompt": LINES[0] * 9},
      {"id": "stray", "lang": "en", "prompt": "a", "adapter": "he"},
      {"id": "script", "lang": "zh", "prompt": "巴黎是法国的首都"},
      # Half of a surrogate pair, which no file can hold.
      {"id": "\ud800", "lang": "\udc00", "prompt": "a"},
  ]
  source, out = write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
  assert decode(model, source, out) == 1
  found = {row["id"]: row for row in read(out)}
  assert not found.pop("good").get("failure")
  assert {row["finish_reason"] for row in found.values()} == {"error"}
  assert {row["response"] for row in found.values()} == {""}
  said = {name: row["failure"] for name, row in found.items()}
  assert "the last message must be the user's and not empty" in said["empty"]
  assert "in.jsonl:3: the row has no 'id'" in said["line 3"]
  assert "in.jsonl:7: " in said["line 7"]
  assert "exceed the model's length of 64" in said["long"]
  assert said["stray"] == "unknown adapter 'he'; there are: none"
  assert "it lacks the script" in said["script"]
  assert "1 responses, 6 failed" in capsys.readouterr().err


BAD_LINES = {
    3: (b"{", "not JSON (Expecting property name"),
    5: (b'{"id": "5", "lang": "en", "prompt": "\xff"}', "not UTF-8"),
    6: (b'["a prompt"]', "expected a JSON object, not ['a prompt']"),
    7: (b'{"id": "7", "lang": "en"}', "'messages' must be a list"),
    8: (b"[" * 100_000, "not JSON (maximum recursion depth"),
    9: (b'{"id": "9", "lang": "en", "pro', "the last line has no newline"),
}


@pytest.fixture
def spoilt(tmp_path):
  """Lines of which some cannot be read, and one is empty."""
  lines = [
      json.dumps({"id": f"{i}", "lang": "en", "prompt": LINES[i]}).encode()
      for i in range(9)
  ]
  for number, (line, _) in BAD_LINES.items():
    lines[number - 1] = line
  lines[3] = b""
  (tmp_path / "in.jsonl").write_bytes(b"\n".join(lines))
  return str(tmp_path / "in.jsonl")


def test_lines_that_cannot_be_read_fail_alone(model, spoilt, tmp_path, capsys):
  out = tmp_path / "out.jsonl"
  assert decode(model, spoilt, out) == 1
  rows = read(out)
  assert [row["id"] for row in rows] == [
      "0", "1", "line 3", "line 5", "line 6", "7", "line 8", "line 9",
  ]
  failed = rows[2:]
  for row, (number, (_, why)) in zip(failed, BAD_LINES.items(), strict=True):
    assert row["failure"].startswith(f"{spoilt}:{number}: {why}")
    assert (row["response"], row["finish_reason"]) == ("", "error")
    assert row["model"] == "tiny"
  assert [row["lang"] for row in failed] == ["und"] * 3 + ["en"] + ["und"] * 2
  assert "2 responses, 6 failed" in capsys.readouterr().err
  summary = json.loads((tmp_path / "out.jsonl.summary.json").read_text())
  assert (summary["answers"], summary["failed"]) == (2, 6)
  # The good rows are answered as without the others.
  good = tmp_path / "good.jsonl"
  text = (tmp_path / "in.jsonl").read_bytes()
  good.write_bytes(b"\n".join(text.split(b"\n")[:2]))
  assert decode(model, str(good), tmp_path / "good.out") == 0
  assert read(tmp_path / "good.out") == rows[:2]


def test_nothing_but_bad_lines_needs_no_model(model, tmp_path):
  (tmp_path / "in.jsonl").write_bytes(b"id,prompt\n1,Hello\n")
  assert decode(model, str(tmp_path / "in.jsonl"), tmp_path / "out.jsonl") == 1
  assert [row["id"] for row in read(tmp_path / "out.jsonl")] == [
      "line 1", "line 2"
  ]


def test_an_id_that_stands_twice_is_answered_once(model, tmp_path, capsys):
  row = {"id": "a", "lang": "en", "prompt": LINES[0]}
  rows = [row, row | {"prompt": LINES[1]}, row | {"lang": "fi"}]
  source, out = write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
  assert decode(model, source, out) == 1
  assert [row.get("failure", "") for row in read(out)] == [
      "", "the id 'a' stands twice in en; give each prompt one of its own", "",
  ]
  # Four reasons, of which three are told.
  bad = [{"id": f"{i}", "lang": "en", "prompt": ""} for i in range(4)]
  source = write(tmp_path / "bad.jsonl", bad)
  assert decode(model, source, tmp_path / "bad.out") == 1
  assert "bad.out has them all" in capsys.readouterr().err


def test_options_that_are_wrong_for_the_model_leave_nothing(
    model, prompts, tmp_path, capsys
):
  out = tmp_path / "out.jsonl"
  assert decode(model, prompts, out, "--mesh", "2,2,2") == 1
  assert "needs 8 devices" in capsys.readouterr().err
  assert sorted(p.name for p in tmp_path.iterdir()) == ["in.jsonl"]
  # Nor does a run that was killed before its first answer stand in the way.
  part = tmp_path / "out.jsonl.part"
  part.write_text('{"run":{"mesh":[2,2,2]}}\n')
  assert decode(model, prompts, out) == 0


def test_no_room_for_a_prompt_is_said(model, prompts, tmp_path):
  out = tmp_path / "out.jsonl"
  more = ("--max_new_tokens", "63", "--too_long", "truncate")
  assert decode(model, prompts, out, *more) == 1
  assert {row["failure"] for row in read(out)} == {
      "63 new tokens leave no room for a prompt in the model's length of 64;"
      " ask for fewer"
  }


def test_long_prompts_lose_their_beginning_if_asked(model, tmp_path):
  text = " ".join(LINES[:4])
  rows = [{"id": "a", "lang": "en", "prompt": text}]
  source, out = write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
  assert decode(model, source, out, "--too_long", "truncate") == 0
  tokenizer = tokenizers.load(model)
  summary = json.loads((tmp_path / "out.jsonl.summary.json").read_text())
  ids = answering.Answerer(model, "plain", 4).encode(
      [records.Message("user", text)]
  )
  assert ids[0] == tokenizer.bos_id
  assert summary["truncated"] == {"prompts": 1, "tokens": len(ids) - 56}


def test_a_run_goes_on_from_its_part(model, prompts, tmp_path, monkeypatch):
  whole, out = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
  assert decode(model, prompts, whole) == 0
  part = tmp_path / "out.jsonl.part"
  append, asked = answer_file._append, []

  def killed(file, row):
    if sum("row" in r for r in asked) == 3:
      file.write('{"row": 4, "resp')  # the kill came while it wrote
      file.flush()
      raise KeyboardInterrupt
    asked.append(row)
    append(file, row)

  monkeypatch.setattr(answer_file, "_append", killed)
  assert decode(model, prompts, out) == 130
  assert not out.exists() and len(part.read_text().splitlines()) == 5

  def noted(file, row):
    asked.append(row)
    append(file, row)

  monkeypatch.setattr(answer_file, "_append", noted)
  # Another seed is another run.
  assert decode(model, prompts, out, "--seed", "1") == 2
  assert decode(model, prompts, out) == 0
  assert sorted(r["row"] for r in asked if "row" in r) == [0, 1, 2, 3, 4]
  assert out.read_text() == whole.read_text()
  assert not part.exists()


@pytest.mark.slow
def test_a_killed_process_loses_and_repeats_nothing(model, tmp_path):
  rows = [
      {"id": f"{i}", "lang": "en", "prompt": f"{LINES[i % 5]} {i}"}
      for i in range(300)
  ]
  rows[7], rows[250] = {"id": "7"}, {"id": "250", "lang": "en"}
  write(tmp_path / "good.jsonl", rows)
  lines = (tmp_path / "good.jsonl").read_bytes().split(b"\n")
  lines[100], lines[299] = b'{"id": "1', b"\xff"
  source, out = str(tmp_path / "in.jsonl"), tmp_path / "out.jsonl"
  (tmp_path / "in.jsonl").write_bytes(b"\n".join(lines))
  argv = [
      sys.executable, "-m", "mlit_jax.main", "decode", "--model", str(model),
      "--input", source, "--output", str(out), "--batch_size", "2",
      "--max_new_tokens", "20",
  ]
  part = tmp_path / "out.jsonl.part"
  running = subprocess.Popen(argv)
  while not part.exists() or part.stat().st_size < 3000:
    assert running.poll() is None
    time.sleep(0.01)
  os.kill(running.pid, signal.SIGKILL)
  running.wait()
  before = {
      row["row"]: row["response"]["response"] for row in read_whole(part)[1:]
  }
  kept = list(before)
  assert 0 < len(kept) < 300 and not out.exists()
  assert subprocess.run(argv).returncode == 1
  names = [row["id"] for row in rows]
  names[100], names[299] = "line 101", "line 300"
  assert [row["id"] for row in read(out)] == names
  failed = [row["id"] for row in read(out) if row.get("failure")]
  assert failed == ["7", "line 101", "250", "line 300"]
  summary = json.loads((tmp_path / "out.jsonl.summary.json").read_text())
  assert (summary["answers"], summary["failed"]) == (296, 4)
  assert {i: read(out)[i]["response"] for i in kept} == before


def read_whole(part):
  lines = part.read_bytes().split(b"\n")[:-1]
  return [json.loads(line) for line in lines]


@pytest.mark.long
def test_adapters_answer_together_as_alone(model, adapters, prompts, tmp_path):
  out, named = tmp_path / "out.jsonl", []
  for i, place in enumerate(adapters):
    named += ["--adapter", f"a{i}={place}"]
  assert decode(model, prompts, out, *named) == 0
  rows = read(out)
  assert [row["model"] for row in rows] == ["a0", "a1"] * 5
  assert decode(model, prompts, tmp_path / "base.jsonl") == 0
  texts = {row["response"] for row in read(tmp_path / "base.jsonl")}
  for i, place in enumerate(adapters):
    merged = tmp_path / f"merged{i}"
    assert main.main(
        ["convert", str(model), str(merged), "--adapter", str(place)]
    ) == 0
    assert decode(merged, prompts, tmp_path / f"{i}.jsonl") == 0
    alone = [row["response"] for row in read(tmp_path / f"{i}.jsonl")]
    assert [r["response"] for r in rows if r["model"] == f"a{i}"] == alone
    assert not texts & set(alone)


class Clock:
  """Half a second passes with every look at it."""

  now = 0.0

  def monotonic(self):
    self.now += 0.5
    return self.now


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_of_this_run_alone(terminal, monkeypatch, capsys):
  """Not of loading, nor of what an earlier run answered."""
  clock = Clock()
  monkeypatch.setattr(decode_command, "time", clock)
  monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
  progress = decode_command._Progress()
  clock.now = 1000.0  # loading took so long
  progress.begin()  # at 1000.5
  for at, done, tokens in ((10, 101, 400), (40, 104, 1600), (100, 110, 4000)):
    clock.now = 1000.0 + at
    progress.show(done, 110, tokens)
  said = capsys.readouterr().err
  lines = [
      "101/110 answers, 40 tokens/s, 1:30 left",
      "104/110 answers, 40 tokens/s, 1:00 left",
      "110/110 answers, 40 tokens/s, 0:00 left",
  ]
  if terminal:
    assert said == "".join(f"\r{x:<60}".rstrip() for x in lines) + "\n"
  else:  # the first was too early
    assert said == "".join(f"{x}\n" for x in lines[1:])


def test_the_last_line_of_progress_is_always_there(
    model, prompts, tmp_path, capsys
):
  out = tmp_path / "out.jsonl"
  assert decode(model, prompts, out) == 0
  lines = capsys.readouterr().err.splitlines()
  assert re.fullmatch(r"5/5 answers, \d+ tokens/s, 0:00 left", lines[-1])


def test_shares_are_disjoint_and_whole(model, prompts, tmp_path):
  found = []
  for i in range(2):
    out = tmp_path / f"{i}.jsonl"
    assert decode(model, prompts, out, "--share", f"{i}/2") == 0
    found.append([row["id"] for row in read(out)])
  assert found == [["0", "2", "4"], ["1", "3"]]


def test_stop_strings_and_logprobs(model, prompts, tmp_path):
  plain, out = tmp_path / "plain.jsonl", tmp_path / "out.jsonl"
  assert decode(model, prompts, plain) == 0
  text = next(r["response"] for r in read(plain) if len(r["response"]) > 5)
  assert decode(model, prompts, out, "--stop", text[2:4], "--logprobs") == 0
  for before, after in zip(read(plain), read(out)):
    if text[2:4] in before["response"]:
      cut = before["response"].partition(text[2:4])[0]
      assert after["response"] == cut and after["finish_reason"] == "stop"
    else:
      assert after["response"] == before["response"]
    assert len(after["logprobs"]) == after["num_tokens"]
    assert max(after["logprobs"]) <= 0


@pytest.mark.parametrize(
    "more, message",
    [
        (["--top_p", "0"], "--top_p must be above 0 and at most 1"),
        (["--share", "2/2"], "--share 2/2: I must lie between 0 and N-1"),
        (["--share", "1"], "'1': write it as --share I/N"),
        (["--mesh", "1,1"], "'1,1': write it as --mesh DATA,FSDP,TENSOR"),
        (["--adapter", "a"], "--adapter 'a': write it as NAME=DIR"),
        (["--adapter", "a=/none"], "a=/none: there is no such directory"),
        (["--beams", "2", "--stop", "a"], "--beams goes with none of"),
        (["--beams", "0"], "--beams must be at least 1"),
        (["--stop", ""], "--stop must be text, or a list of texts, none of"),
        (["--top_k", "2", "--beams", "2"], "--beams goes with none of"),
        (["--length_penalty", "2"], "--length_penalty is of beam search"),
        (["--temperature", "nan"], "--temperature must be a number from 0 up"),
        (["--model", "/none"], "--model /none: there is no such directory"),
        (["--output", "."], ".: is a folder; give the name of a file"),
        (["--output", "IN/x"], "cannot be a folder"),
        (["--output", "IN"], "would be written over; it is read, too"),
        (["--input", "/dev/null"], "/dev/null: no prompts; give one a line"),
        (["--input", "/none"], "/none: cannot be read: No such file"),
    ],
)
def test_wrong_use(model, prompts, tmp_path, capsys, more, message):
  more = [word.replace("IN", prompts) for word in more]
  assert decode(model, prompts, tmp_path / "out.jsonl", *more) == 2
  assert message in capsys.readouterr().err
  assert sorted(p.name for p in tmp_path.iterdir()) == ["in.jsonl"]
