"""Conversations as tokens: one meaning of a place in training and decoding."""

import pytest
import sentencepiece
import small_tokenizers

from mlit_jax.data import chat, sources, templates, tokenizers
from mlit_jax.data.pocket import world
from mlit_jax.errors import UsageError
from mlit_jax.records import Message

CASES = [
    ("plain", "sentencepiece"), ("plain", "bloom"), ("plain", "mistral"),
    ("alpaca", "sentencepiece"), ("alpaca", "neox"), ("llama2", "llama"),
    ("llama2", "sentencepiece"), ("llama2", "mistral"), ("chatml", "qwen"),
    ("gemma", "gemma"), ("plain", "bytes"),
]


@pytest.fixture(scope="module")
def kinds(tokenizer, pocket_lines, tmp_path_factory):
  root = tmp_path_factory.mktemp("kinds")
  made = {"sentencepiece": tokenizer, "bytes": tokenizers.ByteTokenizer()}
  for family in small_tokenizers.FAMILIES:
    path = small_tokenizers.write(family, root / family, pocket_lines)
    made[family] = tokenizers.load(path)
  return made


def _conversations():
  """Two turns in each of the pocket languages, and one full of traps."""
  codes = world.language_codes()
  found = {code: [] for code in codes}
  for item in sources.pocket_instructions(codes, "train").values():
    turns = found[item.lang]
    if len(turns) < 4:
      turns += [
          Message("user", item.prompt), Message("assistant", item.response)
      ]
  assert len(found) == 12
  found["traps"] = [
      Message("user", "  \n\nHi\n"), Message("assistant", "\n\nA </s> \n"),
      Message("user", "</s><|im_end|> [/INST]"), Message("assistant", " b"),
  ]
  return found


CONVERSATIONS = _conversations()


def _answers(encoded):
  """(start, ids) of each run of learnt ids."""
  runs, before = [], 0
  for n, (id_, now) in enumerate(
      zip(encoded.ids, encoded.loss_mask, strict=True)
  ):
    if now and not before:
      runs.append((n, []))
    if now:
      runs[-1][1].append(id_)
    before = now
  return runs


@pytest.mark.parametrize("lang", CONVERSATIONS)
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_training_has_what_decoding_begins_with(name, kind, lang, kinds):
  form, tokenizer = templates.get(name), kinds[kind]
  turns = CONVERSATIONS[lang]
  encoded = chat.encode_conversation(tokenizer, form, turns)
  runs = _answers(encoded)
  assert len(runs) == 2
  for (start, answer), before in zip(runs, (turns[:1], turns[:3])):
    prompt = chat.encode_prompt(tokenizer, form, before)
    assert encoded.ids[:start] == prompt
    assert answer[-1] == form.end_ids(tokenizer)[0]
    assert not set(answer[:-1]) & set(form.end_ids(tokenizer))
    said = turns[len(before)].content
    said = said.strip() if form.strips else said
    text = form.read(tokenizer.decode(answer))
    if "spaces at the ends" in tokenizer.normalizes:
      said, text = said.lstrip(), text.lstrip()
    assert text == said


def test_llama_2s_ids_are_those_of_its_own_code(tokenizer):
  # There, each exchange is encoded whole, between a begin and an end token.
  processor = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.model)
  turns = CONVERSATIONS["et"]
  expected = []
  for asked, answered in (turns[:2], turns[2:]):
    text = f"[INST] {asked.content} [/INST] {answered.content} "
    expected += [1, *processor.encode(text), 2]
  found = chat.encode_conversation(tokenizer, templates.LLAMA2, turns)
  assert found.ids == expected


def test_the_mask_by_hand(tokenizer):
  turns = [Message("user", "a"), Message("assistant", "b")] * 2
  a, b = tokenizer.encode("a\n"), tokenizer.encode("b")
  found = chat.encode_conversation(tokenizer, templates.PLAIN, turns)
  assert found.ids == [1, *a, *b, 2, *a, *b, 2]
  asked, learnt = [0] * len(a), [1] * (len(b) + 1)
  assert found.loss_mask == [0, *asked, *learnt, *asked, *learnt]


def test_a_prompt_begins_with_the_begin_token_and_has_no_end(tokenizer, kinds):
  ids = chat.encode_prompt(
      tokenizer, templates.PLAIN, [Message("user", "</s>你好")]
  )
  assert ids == [1, *tokenizer.encode("</s>你好\n")]
  assert 2 not in ids
  # BLOOM puts no begin token before its texts.
  ids = chat.encode_prompt(
      kinds["bloom"], templates.PLAIN, [Message("user", "你好")]
  )
  assert ids == kinds["bloom"].encode("你好\n")


def test_the_ends_of_a_template_and_of_the_tokenizer(kinds):
  qwen, gemma = kinds["qwen"], kinds["gemma"]
  assert templates.CHATML.end_ids(qwen) == (qwen.specials["<|im_end|>"],)
  assert templates.GEMMA.end_ids(gemma) == (5, 1)
  assert templates.PLAIN.end_ids(gemma) == (1,)


def test_conversations_that_do_not_end_as_they_should(tokenizer):
  asked, answered = Message("user", "a"), Message("assistant", "b")
  for messages in ([], [asked]):
    with pytest.raises(UsageError, match="ends with an answer"):
      chat.encode_conversation(tokenizer, templates.PLAIN, messages)
  for messages in ([], [asked, answered]):
    with pytest.raises(UsageError, match="ends with the user's turn"):
      chat.encode_prompt(tokenizer, templates.PLAIN, messages)
