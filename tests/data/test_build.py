"""Building: exact tokens and masks, counts, hashes, nothing half-written."""

import hashlib
import json
import sys

import numpy as np
import pytest

from mlit_jax.data import build, token_file, tokenizers
from mlit_jax.errors import UsageError

ORIGIN = {"recipe": {"en": 2, "zh": 1}, "seed": 0}
EXAMPLES = [
    {"id": "a", "lang": "en", "inputs": "Say hi.\n", "targets": "Hi there."},
    {"id": "b", "lang": "zh", "inputs": "", "targets": "狗是一种哺乳动物。"},
    {"id": "b", "lang": "en", "inputs": "A dog?\n", "targets": "A dog is a"},
]


@pytest.fixture
def built(tmp_path, tokenizer):
  directory = tmp_path / "data"
  summary = build.build(
      "build-1", EXAMPLES, tokenizer, directory, origin=ORIGIN
  )
  return directory, summary


def test_an_example_is_begin_prompt_answer_end(built, tokenizer):
  found = token_file.TokenFile(built[0])
  assert [(e.id, e.lang) for e in found] == (
      [("a", "en"), ("b", "zh"), ("b", "en")]
  )
  for example, source in zip(found, EXAMPLES, strict=True):
    prompt = tokenizer.encode(source["inputs"])
    answer = tokenizer.encode(source["targets"])
    assert example.tokens.tolist() == [1, *prompt, *answer, 2]
    # What is learnt is the answer and its end, and nothing of the prompt.
    assert example.loss_mask.tolist() == (
        [0] * (1 + len(prompt)) + [1] * (len(answer) + 1)
    )


def test_running_text_is_learnt_but_for_the_begin_token(built):
  text = token_file.TokenFile(built[0])[1]
  assert text.loss_mask[0] == 0
  assert text.loss_mask[1:].all()


def test_the_summary_counts(built, tokenizer):
  directory, summary = built
  lengths = [
      [len(tokenizer.encode(e[k])) for k in ("inputs", "targets")]
      for e in EXAMPLES
  ]
  (p0, a0), (_, a1), (p2, a2) = lengths
  english = p0 + a0 + p2 + a2 + 4
  assert summary == {
      "task": "build_1",
      "origin": ORIGIN,
      "languages": {
          "en": {
              "examples": 2,
              "tokens": english,
              "loss_tokens": a0 + a2 + 2,
              "characters": 8 + 9 + 7 + 10,
              "words": 4 + 6,
              "tokens_per_word": round(english / 10, 3),
              "tokens_per_character": round(english / 34, 3),
          },
          "zh": {
              "examples": 1,
              "tokens": a1 + 2,
              "loss_tokens": a1 + 1,
              "characters": 9,
              "words": 1,
              "tokens_per_word": float(a1 + 2),
              "tokens_per_character": round((a1 + 2) / 9, 3),
          },
      },
      "total": {
          "examples": 3,
          "tokens": english + a1 + 2,
          "loss_tokens": a0 + a1 + a2 + 3,
          "characters": 34 + 9,
          "words": 11,
      },
      "shards": summary["shards"],
      "vocab_size": 2000,
      "pad_id": 0,
  }
  assert token_file.read_summary(directory) == summary
  found = token_file.TokenFile(directory)
  data = b"".join(example.to_bytes() for example in found)
  assert summary["shards"] == [{
      "file": "tokens-00000-of-00001.array_record",
      "examples": 3,
      "sha256": hashlib.sha256(data).hexdigest(),
  }]


def test_beam_makes_the_same_shards(tmp_path, tokenizer):
  pytest.importorskip("apache_beam")
  rows = [EXAMPLES[n % 3] | {"id": f"{n}"} for n in range(31)]
  made = [
      build.build(
          "shards", rows, tokenizer, tmp_path / name, origin=ORIGIN, shards=4,
          run=run,
      )
      for name, run in (
          ("here", None),
          ("beam", build.in_beam(["--direct_num_workers=1"])),
      )
  ]
  assert made[0] == made[1] and len(made[0]["shards"]) == 4
  for shard in made[0]["shards"]:
    one, other = (tmp_path / name / shard["file"] for name in ("here", "beam"))
    assert one.read_bytes() == other.read_bytes()


def test_beam_s_wrong_options_are_said():
  pytest.importorskip("apache_beam")
  with pytest.raises(UsageError, match=r"Beam does not take .*Unexpected"):
    build.in_beam(["--runner=Nope"])


def test_beam_that_is_not_there_is_said(monkeypatch):
  monkeypatch.setitem(sys.modules, "apache_beam", None)
  with pytest.raises(UsageError, match=r"pip install 'mlit-jax\[beam\]'"):
    build.in_beam([])


def test_the_hash_is_the_same_in_two_builds(built, tmp_path, tokenizer):
  directory, summary = built
  again = build.build(
      "build_again", EXAMPLES, tokenizer, tmp_path / "again", origin=ORIGIN
  )
  assert again["shards"] == summary["shards"]
  name = token_file.shard_name(0, 1)
  files = [d / name for d in (directory, tmp_path / "again")]
  assert files[0].read_bytes() == files[1].read_bytes()
  for changed in (
      EXAMPLES[::-1],
      EXAMPLES[:2],
      [*EXAMPLES[:2], EXAMPLES[2] | {"lang": "he"}],
      [*EXAMPLES[:2], EXAMPLES[2] | {"targets": "A dog is it"}],
  ):
    other = build.build(
        "build_other", changed, tokenizer, tmp_path / "other", origin=ORIGIN
    )
    assert other["shards"][0]["sha256"] != summary["shards"][0]["sha256"]


def test_a_build_replaces_the_one_before(built, tokenizer):
  directory, _ = built
  build.build("build_1", EXAMPLES[:1], tokenizer, directory, origin={})
  assert [e.id for e in token_file.TokenFile(directory)] == ["a"]
  assert sorted(p.name for p in directory.iterdir()) == (
      ["build.json", "tokens-00000-of-00001.array_record"]
  )


class _Failing(tokenizers.SentencePieceTokenizer):
  """Fails on one text, as a tokenizer of somebody else's might."""

  def encode(self, text):
    if text == "boom":
      raise RuntimeError("boom")
    return super().encode(text)


def test_a_failed_build_leaves_the_old_one_whole(built, tokenizer):
  directory, summary = built
  before = (directory / token_file.shard_name(0, 1)).read_bytes()
  broken = [*EXAMPLES, {"id": "c", "lang": "en", "inputs": "no targets"}]
  with pytest.raises(KeyError, match="targets"):
    build.build("build_broken", broken, tokenizer, directory, origin={})
  # The first rows are written before the last one fails.
  broken = [*EXAMPLES * 200, EXAMPLES[0] | {"targets": "boom"}]
  with pytest.raises(RuntimeError, match="boom"):
    build.build(
        "build_fails", broken, _Failing(tokenizer.model), directory, origin={}
    )
  assert (directory / token_file.shard_name(0, 1)).read_bytes() == before
  assert token_file.read_summary(directory) == summary
  # What was done stays for the next try, which clears it away.
  build.build("build_1", EXAMPLES[:1], tokenizer, directory, origin={})
  assert len(list(directory.iterdir())) == 2


def _shards(directory):
  files = sorted(directory.glob("tokens-*"))
  return [f.name for f in files], [f.read_bytes() for f in files]


MANY = [
    {"id": f"{n}", "lang": ("en", "fi")[n % 2], "inputs": f"{n}?\n",
     "targets": "yes " * (n % 7)}
    for n in range(101)
]


def test_shards_hold_the_same_examples_in_order(tmp_path, tokenizer):
  one = build.build("one", MANY, tokenizer, tmp_path / "1", origin={})
  four = build.build(
      "four", iter(MANY), tokenizer, tmp_path / "4", origin={}, shards=4
  )
  assert [s["examples"] for s in four["shards"]] == [25, 25, 25, 26]
  assert _shards(tmp_path / "4")[0] == [
      f"tokens-0000{n}-of-00004.array_record" for n in range(4)
  ]
  for key in ("languages", "total"):
    assert one[key] == four[key]
  files = [token_file.TokenFile(tmp_path / n) for n in "14"]
  assert [e.to_bytes() for e in files[0]] == [e.to_bytes() for e in files[1]]
  # Fewer shards than before: none of the old ones is left.
  build.build("two", MANY, tokenizer, tmp_path / "4", origin={}, shards=2)
  assert len(_shards(tmp_path / "4")[0]) == 2


@pytest.mark.slow
def test_processes_make_the_same_files(tmp_path, tokenizer):
  build.build("here", MANY, tokenizer, tmp_path / "a", origin={}, shards=3)
  build.build(
      "there", MANY, tokenizer, tmp_path / "b", origin={}, shards=3,
      run=build.in_processes(2),
  )
  assert _shards(tmp_path / "a") == _shards(tmp_path / "b")


def test_a_killed_build_goes_on_where_it_was(tmp_path, tokenizer):
  done = []

  def first_two(work, shards):
    for shard in shards[:2]:
      work(shard)
    raise KeyboardInterrupt

  def rest(work, shards):
    for shard in shards:
      done.append(shard)
      work(shard)

  options = {"origin": {}, "shards": 4}
  build.build("whole", MANY, tokenizer, tmp_path / "a", **options)
  with pytest.raises(KeyboardInterrupt):
    build.build(
        "part", MANY, tokenizer, tmp_path / "b", **options, run=first_two
    )
  assert not (tmp_path / "b" / "build.json").exists()
  build.build("part", MANY, tokenizer, tmp_path / "b", **options, run=rest)
  assert done == [2, 3]
  assert _shards(tmp_path / "a") == _shards(tmp_path / "b")
  # Other examples: nothing of the first build is used.
  with pytest.raises(KeyboardInterrupt):
    build.build(
        "part", MANY, tokenizer, tmp_path / "b", **options, run=first_two
    )
  done.clear()
  build.build("part", MANY[1:], tokenizer, tmp_path / "b", **options, run=rest)
  assert done == [0, 1, 2, 3]


def test_long_examples_fail_or_are_counted(tmp_path, tokenizer):
  text = "b c d e f g h i j"
  long = {"id": "l", "lang": "fi", "inputs": "a\n", "targets": text}
  examples = [*EXAMPLES, long]
  size = len(tokenizer.encode("a\n") + tokenizer.encode(long["targets"])) + 2

  def make(**options):
    return build.build(
        "long", examples, tokenizer, tmp_path, origin={}, **options
    )

  sizes = [len(e.tokens) for e in _built(make, tmp_path)]
  assert sizes[-1] == size == max(sizes)
  with pytest.raises(token_file.DataError, match=rf"'l' \[fi\] has {size} tok"):
    make(max_length=size - 1)
  summary = make(max_length=size - 3, too_long="truncate")
  assert summary["languages"]["fi"]["truncated"] == 1
  assert summary["total"]["examples"] == 4
  cut = token_file.TokenFile(tmp_path)[3]
  assert len(cut.tokens) == len(cut.loss_mask) == size - 3
  assert tokenizer.eos_id not in cut.tokens
  summary = make(max_length=size - 1, too_long="drop")
  assert summary["total"]["dropped"] == 1
  assert summary["total"]["examples"] == 3
  assert "fi" not in {e.lang for e in token_file.TokenFile(tmp_path)}
  with pytest.raises(token_file.DataError, match="too long and dropped"):
    make(max_length=1, too_long="drop")


def _built(make, directory):
  make()
  return list(token_file.TokenFile(directory))


def test_no_examples(tmp_path, tokenizer):
  with pytest.raises(token_file.DataError, match="no examples to build"):
    build.build("build_none", [], tokenizer, tmp_path / "d", origin={})
  assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    ("name", "task"),
    [("mono-zh-Hant", "mono_zh_Hant"), ("my data #1", "my_data__1"), ("", "_")],
)
def test_any_directory_name_makes_a_task(tmp_path, tokenizer, name, task):
  examples = [EXAMPLES[0] | {"lang": "zh-Hant", "targets": " "}]
  summary = build.build(name, examples, tokenizer, tmp_path, origin={})
  assert summary["task"] == task
  assert summary["languages"]["zh-Hant"]["examples"] == 1


def test_text_without_words_has_a_fertility(tmp_path, tokenizer):
  examples = [{"id": "x", "lang": "en", "inputs": "", "targets": ""}]
  summary = build.build("build_empty", examples, tokenizer, tmp_path, origin={})
  assert summary["languages"]["en"] == {
      "examples": 1, "tokens": 2, "loss_tokens": 1, "characters": 0,
      "words": 0, "tokens_per_word": 2.0, "tokens_per_character": 2.0,
  }
  (example,) = token_file.TokenFile(tmp_path)
  assert np.array_equal(example.tokens, [1, 2])


def test_build_json_is_readable(built):
  text = (built[0] / "build.json").read_text(encoding="utf-8")
  assert list(json.loads(text)) == sorted(json.loads(text))


def test_texts_begin_as_the_tokenizer_begins_them(tmp_path):
  # Bytes have no begin token; nothing foretells the first one of a text.
  tokenizer = tokenizers.ByteTokenizer()
  examples = [
      {"id": "1", "lang": "en", "inputs": "a", "targets": "b"},
      {"id": "2", "lang": "en", "inputs": "", "targets": "bc"},
  ]
  build.build("build_bytes", examples, tokenizer, tmp_path, origin={})
  rows = list(token_file.TokenFile(tmp_path))
  assert [r.tokens.tolist() for r in rows] == [[100, 101, 1], [101, 102, 1]]
  assert [r.loss_mask.tolist() for r in rows] == [[0, 1, 1], [0, 1, 1]]
