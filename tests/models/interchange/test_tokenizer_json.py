"""transformers splits and joins text as our SentencePiece tokenizer does."""

import io
import json
import random

import pytest
import sentencepiece

from mlit_jax.data import tokenizers
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.interchange import huggingface, tokenizer_json

LINES = [
    "the dog is a mammal", "Der Hund ist ein Säugetier.", "कुत्ता एक स्तनधारी है।",
    "  two  spaces", "犬はほ乳類です。", "الكلب حيوان ثديي.",
] * 4


@pytest.fixture(scope="module")
def tokenizer():
  return tokenizers.train_sentencepiece(LINES, 340)


def test_the_content_by_hand(tokenizer):
  content = tokenizer_json.convert(tokenizer.model, bos_id=1)
  special = [(t["id"], t["content"]) for t in content["added_tokens"]]
  assert special == [(0, "<unk>"), (1, "<s>"), (2, "</s>")]
  model = content["model"]
  assert model["unk_id"] == 0 and model["byte_fallback"] is True
  assert len(model["vocab"]) == tokenizer.vocab_size
  pieces = [piece for piece, _ in model["vocab"]]
  assert pieces[tokenizer.encode("the")[0]].startswith("▁")


def test_what_is_no_unigram_model_is_left_to_transformers():
  out = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=iter(LINES), model_writer=out, vocab_size=340,
      model_type="bpe", hard_vocab_limit=False, minloglevel=2,
  )
  assert tokenizer_json.convert(out.getvalue(), bos_id=1) is None


def test_other_bytes_are_refused():
  with pytest.raises(ValueError, match="not a SentencePiece model"):
    tokenizer_json.convert(b"pieces", bos_id=1)


@pytest.mark.torch
def test_transformers_splits_as_we_do(tokenizer, random_params, tmp_path):
  transformers = pytest.importorskip("transformers")
  config = DecoderConfig(
      vocab_size=tokenizer.vocab_size, num_layers=1, embed_dim=2, num_heads=1,
      num_kv_heads=1, head_dim=2, mlp_dim=1,
  )
  huggingface.save(
      tmp_path / "model", config, random_params(config), tokenizer.model,
      bos_id=tokenizer.bos_id, eos_id=tokenizer.eos_id,
  )
  theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
  assert theirs.bos_token_id == 1 and theirs.eos_token_id == 2
  assert len(theirs) == tokenizer.vocab_size
  rng = random.Random(0)
  letters = "".join(LINES[:6]) + "\n\t🐶zQ"
  texts = ["", " ", "x", "the dog is", "  two  spaces ", "कुत्ता", "a\nb"]
  texts += [
      "".join(rng.choices(letters, k=rng.randint(1, 40))) for _ in range(200)
  ]
  for text in texts:
    ours = tokenizer.encode(text)
    assert theirs(text)["input_ids"] == [1, *ours], repr(text)
    joined = theirs.decode([1, *ours, 2], skip_special_tokens=True)
    assert joined == tokenizer.decode(ours), repr(text)


def _json(path, value):
  path.write_text(json.dumps(value))


@pytest.fixture
def folders(tmp_path):
  source, out = tmp_path / "source", tmp_path / "out"
  source.mkdir()
  out.mkdir()
  return source, out


def test_a_tokenizer_is_copied_as_it_is(folders):
  source, out = folders
  contents = {
      "tokenizer.json": "{}", "tokenizer_config.json": '{"a": 1}',
      "chat_template.jinja": "x", "special_tokens_map.json": "{}",
  }
  for name, text in contents.items():
    (source / name).write_text(text)
  (source / "model.py").write_text("code stays behind")
  (out / "tokenizer.model").write_text("of another tokenizer")
  (out / "config.json").write_text("not ours")
  assert sorted(tokenizer_json.copy_files(source, out)) == sorted(contents)
  assert {p.name for p in out.iterdir()} == {*contents, "config.json"}
  for name, text in contents.items():
    assert (out / name).read_text() == text


def test_a_unigram_model_gets_a_tokenizer_json_on_its_way(folders, tokenizer):
  source, out = folders
  (source / "tokenizer.model").write_bytes(tokenizer.model)
  names = tokenizer_json.copy_files(source, out)
  assert names == ["tokenizer.json", "tokenizer.model", "tokenizer_config.json"]
  ours, before = tokenizers.load(out), tokenizers.load(source)
  assert isinstance(ours, tokenizers.HuggingFaceTokenizer)
  assert ours.begin_ids == before.begin_ids == (1,)
  assert (ours.eos_id, ours.pad_id, ours.unk_id) == (2, 0, 0)
  spelt = "<0x41> a<0x42><0x43>"
  assert ours.decode(ours.encode(spelt)) == before.decode(ours.encode(spelt))
  assert ours.decode(ours.encode(spelt)) == spelt
  for text in [*LINES, "  a\n", "</s> <unk> 𠮷", "\u2581"]:
    ids = before.encode(text)
    assert ours.encode(text) == ids
    assert ours.decode(ids) == before.decode(ids)
    inner = before.encode(text, continues=True)
    assert ours.encode(text, continues=True) == inner


def test_settings_that_are_there_are_kept(folders, tokenizer):
  source, out = folders
  (source / "tokenizer.model").write_bytes(tokenizer.model)
  _json(source / "tokenizer_config.json", {"pad_token": "</s>"})
  tokenizer_json.copy_files(source, out)
  assert tokenizers.load(out).pad_id == 2
  assert tokenizers.load(source).pad_id == 2


@pytest.mark.torch
@pytest.mark.parametrize("own", [False, True])
def test_t5xs_model_becomes_one_that_transformers_reads(folders, own):
  transformers = pytest.importorskip("transformers")
  source, out = folders
  model = io.BytesIO()
  extra = [f"<extra_id_{n}>" for n in range(99, -1, -1)] if own else []
  sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=iter(LINES), model_writer=model, vocab_size=340,
      hard_vocab_limit=False, minloglevel=2, pad_id=0, eos_id=1, unk_id=2,
      bos_id=-1, user_defined_symbols=extra,
  )
  (source / "sentencepiece.model").write_bytes(model.getvalue())
  names = tokenizer_json.copy_files(source, out)
  assert names == ["spiece.model", "tokenizer_config.json"]
  ours = tokenizers.load(out)
  theirs = transformers.AutoTokenizer.from_pretrained(out)
  assert len(theirs) == ours.vocab_size
  assert theirs.eos_token_id == ours.eos_id == 1
  for name in ("<extra_id_0>", "<extra_id_99>"):
    assert theirs.convert_tokens_to_ids(name) == ours.specials[name]
  for text in LINES[:6]:
    ids = ours.encode(text)
    assert theirs(text, add_special_tokens=False)["input_ids"] == ids


def test_a_damaged_model_is_refused(folders):
  source, out = folders
  (source / "tokenizer.model").write_bytes(b"junk")
  with pytest.raises(ValueError, match="not a SentencePiece model"):
    tokenizer_json.copy_files(source, out)
