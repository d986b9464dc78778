"""Named templates: their text by hand, files of the user's own."""

import chat_templates
import pytest
import small_tokenizers

from mlit_jax.data import chat, templates, tokenizers
from mlit_jax.data.checkpoint_template import CheckpointTemplate
from mlit_jax.errors import UsageError
from mlit_jax.records import Message

SYSTEM = Message("system", "Be brief.")
HI, HELLO = Message("user", "Hi"), Message("assistant", "Hello.")
MORE, DONE = Message("user", "你好"), Message("assistant", "再见")
TURNS = [SYSTEM, HI, HELLO, MORE]


def _text(form, tokenizer, messages):
  """The text of a conversation; special tokens by their names."""
  names = {id_: text for text, id_ in tokenizer.specials.items()}
  return "".join(
      names[p] if isinstance(p, int) else p
      for segment in form.segments(tokenizer, messages)
      for p in segment.pieces
  )


def test_the_plain_template_is_a_line_a_turn(tokenizer):
  plain = templates.get("plain")
  assert plain is templates.PLAIN
  assert _text(plain, tokenizer, [SYSTEM, HI]) == "<s>Be brief.\nHi\n"
  assert _text(plain, tokenizer, [HI]) == "<s>Hi\n"
  text = "<s>Be brief.\nHi\nHello.</s>你好\n"
  assert _text(plain, tokenizer, TURNS) == text
  assert _text(plain, tokenizer, [*TURNS, DONE]) == text + "再见</s>"


def test_the_alpaca_template(tokenizer):
  alpaca = templates.get("alpaca")
  opening = "Here is a task to carry out. Answer it fully.\n\n"
  asks = "### Instruction:\nHi\n\n### Response:\n"
  assert _text(alpaca, tokenizer, [HI]) == f"<s>{opening}{asks}"
  found = _text(alpaca, tokenizer, [SYSTEM, HI])
  assert found == f"<s>Be brief.\n\n{asks}"
  assert _text(alpaca, tokenizer, [HI, MORE]) == (
      "<s>Here is a task to carry out, and the text that it is about. Answer it"
      " fully.\n\n### Instruction:\nHi\n\n### Input:\n你好\n\n### Response:\n"
  )
  assert _text(alpaca, tokenizer, [HI, HELLO, MORE]) == (
      f"<s>{opening}{asks}Hello.</s>\n\n### Instruction:\n你好\n\n"
      "### Response:\n"
  )


def test_an_input_without_a_place_of_its_own_is_a_line(tokenizer):
  text = _text(templates.PLAIN, tokenizer, [HI, MORE])
  assert text == "<s>Hi\n你好\n"
  text = _text(templates.LLAMA2, tokenizer, [HI, MORE])
  assert text == "<s>[INST] Hi\n你好 [/INST]"


@pytest.mark.parametrize(
    ("name", "family", "source", "behind"),
    [
        ("llama2", "llama", chat_templates.LLAMA2, ""),
        ("chatml", "qwen", chat_templates.CHATML_GENERATION, "\n"),
        ("gemma", "gemma", chat_templates.GEMMA, "\n"),
    ],
)
@pytest.mark.parametrize("turns", [[HI], TURNS, [*TURNS, DONE]])
def test_the_text_is_that_of_the_checkpoints_own(
    name, family, source, behind, turns, pocket_lines, tmp_path
):
  path = small_tokenizers.write(
      family, tmp_path, pocket_lines, chat_template=source
  )
  tokenizer = tokenizers.load(path)
  ours, own = templates.get(name), CheckpointTemplate.from_directory(path)
  ask = turns[-1].role == "user"
  text = _text(ours, tokenizer, turns) + ("" if ask else behind)
  assert text == own.render(turns, ask)
  if ask:
    prompt = chat.encode_prompt(tokenizer, own, turns)
    assert chat.encode_prompt(tokenizer, ours, turns) == prompt
  else:
    encoded = chat.encode_conversation(tokenizer, own, turns)
    count = len(encoded.ids) - bool(behind)
    found = chat.encode_conversation(tokenizer, ours, turns)
    assert found.ids == encoded.ids[:count]
    assert found.loss_mask == encoded.loss_mask[:count]


def test_an_answer_is_read_as_it_was_meant():
  assert templates.LLAMA2.read(" Hello. ") == "Hello."
  assert templates.LLAMA2.read("Hello.") == "Hello."
  assert templates.PLAIN.read(" Hello. ") == " Hello. "


def test_a_tokenizer_without_the_templates_tokens(tokenizer):
  for ask in (
      lambda: chat.encode_prompt(tokenizer, templates.CHATML, [HI]),
      lambda: templates.CHATML.end_ids(tokenizer),
  ):
    with pytest.raises(UsageError) as e:
      ask()
    assert str(e.value) == (
        "template 'chatml' needs the token '<|im_start|>', which this tokenizer"
        " lacks; choose another template"
    )


def test_an_unknown_template_names_the_known_ones():
  with pytest.raises(UsageError) as e:
    templates.get("vicuna")
  assert str(e.value) == (
      "unknown template 'vicuna'; known: plain, alpaca, llama2, chatml, gemma,"
      " or a file.toml"
  )


def test_a_template_of_the_users_own(tokenizer, tmp_path):
  path = tmp_path / "original.toml"
  path.write_text(
      'base = "alpaca"\nopening = "As published.\\n\\n"\n'
      'opening_with_input = "With input.\\n\\n"\n'
  )
  form = templates.get(str(path))
  assert form.name == "original"
  asks = "### Instruction:\nHi\n\n### Response:\n"
  assert _text(form, tokenizer, [HI]) == "<s>As published.\n\n" + asks
  text = _text(form, tokenizer, [HI, MORE])
  assert text.startswith("<s>With input.\n\n### Instr")
  path.write_text('after = {user = " A:"}\ntokens = ["<s>"]\nstrips = true\n')
  form = templates.get(str(path))
  assert form.after == {"user": " A:"} and form.tokens == ("<s>",)
  assert form.strips is True


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("opening = 3", "opening must be text, not 3"),
        ("strips = 1", "strips must be true or false, not 1"),
        ("tokens = [1]", "tokens must be a list of texts, not [1]"),
        ("before = {user = 1}", "before must be a table of texts, not {'user'"),
        ("openning = ''", "unknown field 'openning'; known: name, before,"),
        ("base = 'x'", "base 'x' is not one of plain, alpaca"),
        ("base", "not TOML ("),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_file_that_is_no_template(text, words, tmp_path):
  path = tmp_path / "x.toml"
  if text is not None:
    path.write_text(text)
  with pytest.raises(UsageError) as e:
    templates.get(str(path))
  assert str(e.value).startswith(f"{path}: ") and words in str(e.value)
