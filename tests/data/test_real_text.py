"""Real sentences in twelve languages through tokenizers learnt from others."""

import pathlib
import unicodedata

import pytest
import small_tokenizers

from mlit_jax.data import chat, templates, tokenizers
from mlit_jax.records import Message

SIB = pathlib.Path(__file__).parents[3] / "shared" / "data" / "sib200"
CODES = ("ar", "cs", "en", "es", "et", "fi", "he", "hi", "it", "ru", "sw", "zh")
NFC = ("letters apart from their accents (NFC)",)
pytestmark = pytest.mark.skipif(
    not SIB.exists(), reason="../shared/data/sib200 is not here"
)


def _sentences(split, number):
  found = []
  for code in CODES:
    lines = (SIB / code / f"{split}.tsv").read_text("utf-8").splitlines()
    found += [line.split("\t")[2] for line in lines[1 : number + 1]]
  return found


@pytest.fixture(scope="module")
def sentences():
  return _sentences("dev", 40)


@pytest.mark.torch
@pytest.mark.parametrize("family", small_tokenizers.FAMILIES)
def test_sentences_come_back_as_transformers_has_them(
    family, sentences, tmp_path
):
  transformers = pytest.importorskip("transformers")
  learnt_from = _sentences("train", 60)
  path = small_tokenizers.write(family, tmp_path, learnt_from)
  ours = tokenizers.load(path)
  theirs = transformers.AutoTokenizer.from_pretrained(path)
  for text in sentences:
    ids = ours.encode(text)
    assert theirs(text)["input_ids"] == [*ours.begin_ids, *ids]
    decoder = tokenizers.StreamDecoder(ours)
    pieces = [*map(decoder.push, ids), decoder.flush()]
    composed = unicodedata.normalize("NFC", text)
    kept = composed if ours.normalizes[:1] == NFC else text
    assert "".join(pieces) == ours.decode(ids) == kept
    assert all("\ufffd" not in piece for piece in pieces)


def test_a_conversation_keeps_its_boundary(sentences):
  path = SIB.parent / "tokenizers" / "tokenizer.mistral-v1.model"
  tokenizer = tokenizers.SentencePieceTokenizer(path.read_bytes())
  pairs = list(zip(sentences[::2], sentences[1::2]))
  for form in (templates.PLAIN, templates.ALPACA, templates.LLAMA2):
    for asked, answered in pairs:
      turns = [Message("user", asked), Message("assistant", answered)]
      encoded = chat.encode_conversation(tokenizer, form, turns)
      prompt = chat.encode_prompt(tokenizer, form, turns[:1])
      assert encoded.ids[: len(prompt)] == prompt
      assert encoded.loss_mask == [0] * len(prompt) + [1] * (
          len(encoded.ids) - len(prompt)
      )
      text = form.read(tokenizer.decode(encoded.ids[len(prompt) :]))
      assert text == (answered.strip() if form.strips else answered)
