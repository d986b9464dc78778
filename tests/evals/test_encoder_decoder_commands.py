"""mlit decode and mlit score with a T5, against transformers and lm_eval."""

import dataclasses
import json
import shutil

import pytest

from mlit_jax import interactive, main
from mlit_jax.data import tokenizers
from mlit_jax.evals import benchmarks, outcomes, scoring

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
huggingface = pytest.importorskip("lm_eval.models.huggingface")
instance = pytest.importorskip("lm_eval.api.instance")
pytestmark = [pytest.mark.torch, pytest.mark.long]

import small_tokenizers  # noqa: E402

LINES = [
    "The capital of France is Paris, and that of Peru is Lima.",
    "La capitale della Francia è Parigi, quella del Perù è Lima.",
    "Столица Франции — Париж, а столица Перу — Лима.",
    "Mji mkuu wa Ufaransa ni Paris.", "A cat is smaller than a horse.",
] * 20
# Benchmark -> the language tested, what its prompts end with.
QUESTIONS = {
    "xquad": ("en", ""), "mgsm": ("ru", ""),
    "flores:from_en": ("it", "\n\nItalian:"),
    "flores:to_en": ("it", "\n\nEnglish:"),
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
  """A random T5 1.1 with T5's kind of tokenizer."""
  place = tmp_path_factory.mktemp("t5") / "model"
  place.mkdir()
  model = small_tokenizers.sentencepiece_model(
      LINES, vocab_size=400, pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
      byte_fallback=True,
  )
  (place / "spiece.model").write_bytes(model)
  (place / "tokenizer_config.json").write_text(
      json.dumps({
          "tokenizer_class": "T5Tokenizer", "eos_token": "</s>",
          "unk_token": "<unk>", "pad_token": "<pad>", "extra_ids": 0,
          "additional_special_tokens": [],
      })
  )
  tokenizer = tokenizers.load(place)
  torch.manual_seed(0)
  config = transformers.T5Config(
      vocab_size=tokenizer.vocab_size, d_model=32, d_kv=8, d_ff=48,
      num_layers=2, num_heads=4, feed_forward_proj="gated-gelu",
      tie_word_embeddings=False, pad_token_id=tokenizer.pad_id,
      eos_token_id=tokenizer.eos_id, decoder_start_token_id=0,
  )
  network = transformers.T5ForConditionalGeneration(config)
  with torch.no_grad():
    for weight in network.parameters():
      weight.add_(0.3 * torch.randn_like(weight))
  network.save_pretrained(place)
  return place


@pytest.mark.parametrize("penalty", [1.0, 5.0])
def test_decode_gives_their_greedy_answers(directory, penalty, tmp_path):
  """A penalty is of what the decoder has read, not of the prompt."""
  tokenizer = tokenizers.load(directory)
  network = transformers.AutoModelForSeq2SeqLM.from_pretrained(directory)
  prompts = [LINES[0], LINES[2], LINES[3][:9]]
  source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
  rows = [
      {"id": f"{i}", "lang": "en", "prompt": text}
      for i, text in enumerate(prompts)
  ]
  source.write_text("".join(json.dumps(row) + "\n" for row in rows))
  assert main.main([
      "decode", "--model", str(directory), "--input", str(source), "--output",
      str(out), "--max_new_tokens", "9", "--batch_size", "2",
      "--repetition_penalty", str(penalty),
  ]) == 0
  found = [json.loads(line) for line in out.read_text().splitlines()]
  for row, text in zip(found, prompts, strict=True):
    ids = [*tokenizer.encode(text), tokenizer.eos_id]
    theirs = network.generate(
        torch.tensor([ids]), max_new_tokens=9, do_sample=False,
        repetition_penalty=penalty,
    )[0, 1:].tolist()
    if tokenizer.eos_id in theirs:
      theirs = theirs[: theirs.index(tokenizer.eos_id)]
    assert row["response"] == tokenizer.decode(theirs)
  assert len({row["response"] for row in found}) > 1


def test_score_equals_the_harness(directory):
  rows = [
      (LINES[0][:24], " Paris"), (LINES[0][:24], " Lima, and that"),
      (LINES[1][:20], LINES[1][20:]), (LINES[2][:30] + " ", "Лима."), ("", "A"),
  ]
  theirs = huggingface.HFLM(
      pretrained=str(directory), backend="seq2seq", device="cpu",
      dtype="float32", batch_size=2,
  ).loglikelihood(
      [
          instance.Instance("loglikelihood", {}, row, i)
          for i, row in enumerate(rows[:-1])
      ],
      disable_tqdm=True,
  )
  ours = scoring.LanguageModel(directory, batch_size=2).score(rows)
  for (logprob, greedy), score in zip(theirs, ours[:-1], strict=True):
    assert score.logprob == pytest.approx(logprob, rel=1e-4)
    assert score.is_greedy == greedy
  assert ours[-1].num_tokens >= 1  # an empty input has an end


def test_conversations_equal_the_harness(directory, tmp_path):
  from mlit_jax.evals import harness

  place = shutil.copytree(directory, tmp_path / "model")
  # Of letters that are in the vocabulary.
  template = "{% for m in messages %}{{ m.role + '. ' + m.content }}\n"
  template += "{% endfor %}{% if add_generation_prompt %}model. {% endif %}"
  (place / "chat_template.jinja").write_text(template)
  theirs = huggingface.HFLM(
      pretrained=str(place), backend="seq2seq", device="cpu",
      dtype="float32", batch_size=2,
  )
  models = harness.MlitLM(str(place), batch_size=2), theirs
  turns = [{"role": "user", "content": LINES[0]}]
  begun = [*turns, {"role": "assistant", "content": "Париж "}]
  found = []
  for model in models:
    texts = [model.apply_chat_template(turns)]
    texts.append(model.apply_chat_template(begun, False))
    rows = [(text, end) for text in texts for end in ("Лима.", " Paris")]
    asked = [
        instance.Instance("loglikelihood", {}, row, i)
        for i, row in enumerate(rows)
    ]
    found.append((texts, model.loglikelihood(asked, disable_tqdm=True)))
  (texts, scores), (their_texts, their_scores) = found
  assert texts == their_texts
  for (score, greedy), (want, flag) in zip(scores, their_scores, strict=True):
    assert score == pytest.approx(want, abs=1e-4)
    assert greedy == flag
  # What is gone on from is read with its end token, too.
  for text in texts:
    assert models[0]._model.prompt(text) == theirs.tok_encode(str(text))


def test_what_an_encoder_decoder_cannot_do_is_said(directory):
  model = scoring.LanguageModel(directory, batch_size=2)
  with pytest.raises(ValueError, match="score pairs instead"):
    model.rolling(["text"])
  (failure,) = model.score([("word " * 3000, "x")])
  assert "shorten them" in failure
  (score,) = model.score([("word " * 3000, "x")], truncate=True)
  assert score.num_tokens >= 1


def test_interactively(directory):
  model = interactive.InteractiveModel(directory, batch_size=2)
  answers = model.generate([LINES[0], LINES[2]], max_new_tokens=9)
  tokenizer = tokenizers.load(directory)
  network = transformers.AutoModelForSeq2SeqLM.from_pretrained(directory)
  ids = torch.tensor([[*tokenizer.encode(LINES[0]), tokenizer.eos_id]])
  theirs = network.generate(ids, max_new_tokens=9, do_sample=False)[0, 1:]
  theirs = [i for i in theirs.tolist() if i != tokenizer.eos_id]
  assert answers[0].response == tokenizer.decode(theirs)
  (score,) = model.score([(LINES[0], " Paris")])
  assert score.logprob < 0
  with pytest.raises(ValueError, match="read off decoders alone"):
    model.embed([LINES[0]])


@pytest.fixture(scope="module")
def evaluated(directory, tmp_path_factory):
  """`mlit eval` of every kind of benchmark; its folder."""
  data, output = (tmp_path_factory.mktemp(name) for name in ("data", "out"))
  endings = [LINES[1][-9:], LINES[3][:12], "Lima."]
  _write(data / "test.id.jsonl", [
      json.dumps({
          "premise": LINES[1][: 20 + i], "choice1": endings[i % 3],
          "choice2": endings[(i + 1) % 3], "label": i % 2, "idx": i,
          "question": ("cause", "effect")[i % 2],
      })
      for i in range(5)
  ])
  # The second text is longer than the 2,048 tokens that are read.
  paragraphs = [
      {"context": LINES[0] * number, "qas": [{
          "id": f"{number}", "question": "?", "answers": [{"text": "Paris"}],
      }]}
      for number in (1, 120)
  ]
  (data / "xquad.en.json").write_text(
      json.dumps({"data": [{"paragraphs": paragraphs}]})
  )
  for code, line in (("eng_Latn", LINES[0]), ("ita_Latn", LINES[1])):
    _write(data / f"flores/devtest/{code}.devtest", [line, line[:20]])
  _write(data / "mgsm_ru.tsv", [f"{LINES[2]}\t3"])
  with pytest.MonkeyPatch.context() as patch:
    for name in QUESTIONS:
      # Few lengths of a cache, few programs.
      short = dataclasses.replace(benchmarks.BENCHMARKS[name], max_new_tokens=9)
      patch.setitem(benchmarks.BENCHMARKS, name, short)
    assert main.main([
        "eval", "xcopa,xquad,flores,mgsm", "--model", str(directory), "--data",
        str(data), "--output", str(output), "--batch_size", "4",
    ]) == 0
  return output


def _write(path, lines):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text("".join(line + "\n" for line in lines))


def test_eval_says_at_once_that_there_are_no_representations(
    directory, tmp_path, capsys
):
  for code, text in (("eng_Latn", "a\nb\nc"), ("ita_Latn", "d\ne\nf")):
    _write(tmp_path / f"devtest/{code}.devtest", [text])
  assert main.main([
      "eval", "flores,representation", "--model", str(directory), "--data",
      str(tmp_path), "--output", str(tmp_path / "out"),
  ]) == 1
  assert "read off decoders alone" in capsys.readouterr().err
  assert not (tmp_path / "out").exists()


def test_eval_chooses_as_the_harness_does(directory, evaluated):
  rows = outcomes.read_rows(evaluated, "xcopa", "id")
  asked = [tuple(option) for row in rows for option in row["options"]]
  theirs = huggingface.HFLM(
      pretrained=str(directory), backend="seq2seq", device="cpu",
      dtype="float32", batch_size=4,
  ).loglikelihood(
      [
          instance.Instance("loglikelihood", {}, pair, i)
          for i, pair in enumerate(asked)
      ],
      disable_tqdm=True,
  )
  ours = [logprob for row in rows for logprob in row["logprobs"]]
  assert ours == pytest.approx([logprob for logprob, _ in theirs], rel=1e-4)
  right = [
      (theirs[2 * i + 1] > theirs[2 * i]) == row["right"]
      for i, row in enumerate(rows)
  ]
  results = json.loads((evaluated / "results.json").read_text())
  assert results["xcopa"]["id"]["score"] == sum(right) / len(rows)


@pytest.mark.parametrize("name", QUESTIONS)
def test_eval_writes_what_transformers_writes(directory, evaluated, name):
  lang, cue = QUESTIONS[name]
  tokenizer = tokenizers.load(directory)
  network = transformers.AutoModelForSeq2SeqLM.from_pretrained(directory)
  rows = outcomes.read_rows(evaluated, name, lang)
  for row in rows:
    # An encoder reads as much of the prompt's end as is read at all.
    ids = [*tokenizer.encode(row["prompt"] + cue), tokenizer.eos_id]
    theirs = network.generate(
        torch.tensor([ids[-2048:]]), max_new_tokens=9, do_sample=False
    )[0, 1:].tolist()
    if tokenizer.eos_id in theirs:
      theirs = theirs[: theirs.index(tokenizer.eos_id)]
    assert row["answer"] == tokenizer.decode(theirs).partition("\n")[0].strip()
    assert row["is_cut"] == (len(ids) > 2048)
  assert any(row["answer"] for row in rows)
  assert (name == "xquad") == any(row["is_cut"] for row in rows)


def test_an_answer_takes_no_room_from_what_is_read(directory, monkeypatch):
  from mlit_jax.evals import harness

  text = LINES[4] * 400
  whole = [*tokenizers.load(directory).encode(text)]
  text = LINES[4] * (400 * 1950 // len(whole))
  asked = [
      instance.Instance(
          "generate_until", {}, (text, {"until": ["zz"], "max_gen_toks": 256}),
          0,
      )
  ]
  ours = harness.MlitLM(str(directory), batch_size=2)
  theirs = huggingface.HFLM(
      pretrained=str(directory), backend="seq2seq", device="cpu",
      dtype="float32", batch_size=2,
  )
  read = []

  def watch(requests, *rest):
    read.append(list(requests[0].tokens))
    return iter(())

  def watched(*args, **kwargs):
    read.append(kwargs["input_ids"][0].tolist())
    return torch.zeros((1, 1), dtype=torch.long)

  monkeypatch.setattr(ours._model, "generate", watch)
  monkeypatch.setattr(theirs.model, "generate", watched)
  ours.generate_until(asked)
  theirs.generate_until(asked, disable_tqdm=True)
  assert read[0] == read[1]
  assert 2048 - 256 < len(read[0]) < 2048
