"""Instructions as rows, and their tokens."""

import numpy as np
import pytest
import small_tokenizers

from mlit_jax.data import (
    build,
    chat,
    checkpoint_template,
    conversations,
    recipes,
    sources,
    templates,
    token_file,
    tokenizers,
)
from mlit_jax.records import Instruction, Message

TURNS = (
    Message("user", "Hi"), Message("assistant", "Hello."),
    Message("user", "And?"),
)


def test_rows_follow_the_manifest():
  source = sources.pocket_instructions(("en", "sw"), "train")
  rows = (
      recipes.Row("capital/france-paris/0", "sw", "capital/france-paris/0"),
      recipes.Row(
          "capital/france-paris/0", "en", "opposite/big-small/1", "sw"
      ),
  )
  manifest = recipes.Manifest(rows, "parallel", 0)
  asked = ("Mji mkuu wa Ufaransa ni upi?", "What is the capital of France?")
  answers = ("Mji mkuu wa Ufaransa ni Paris.", source[
      "opposite/big-small/1", "sw"
  ].response)
  assert conversations.rows(manifest, source) == [
      {
          "id": "capital/france-paris/0", "lang": lang,
          "messages": [
              {"role": "user", "content": question},
              {"role": "assistant", "content": answer},
          ],
      }
      for lang, question, answer in zip(("sw", "en"), asked, answers)
  ]


def test_what_the_source_does_not_have_is_named():
  message = Message("user", "?")
  source = {
      ("1", "en"): Instruction("1", "en", (message,), "!"),
      ("2", "en"): Instruction("2", "en", (message,)),
  }
  for row, words in (
      (recipes.Row("1", "he", "1"), r"no example \('1', 'he'\)"),
      (recipes.Row("2", "en", "2"), r"'2' \[en\] has no response to learn"),
  ):
    manifest = recipes.Manifest((row,), "partition", 0)
    with pytest.raises(recipes.RecipeError, match=words):
      conversations.rows(manifest, source)


@pytest.mark.parametrize(
    ("family", "template"),
    [
        ("qwen", "chatml"), ("gemma", "gemma"), ("llama", "llama2"),
        ("qwen", "checkpoint"), ("neox", "plain"), ("neox", "alpaca"),
    ],
)
def test_several_turns_are_built_with_special_tokens(
    family, template, pocket_lines, tmp_path
):
  """In a process of its own, as the command does it."""
  import chat_templates

  path = small_tokenizers.write(
      family, tmp_path / "model", pocket_lines,
      chat_template=chat_templates.CHATML_GENERATION,
  )
  tokenizer = tokenizers.load(path)
  form = checkpoint_template.find(template, path)
  source = {("a", "en"): Instruction("a", "en", TURNS, "Bye.")}
  manifest = recipes.Manifest((recipes.Row("a", "en", "a"),), "parallel", 0)
  summary = build.build(
      "turns", conversations.rows(manifest, source), tokenizer,
      tmp_path / "built", origin={}, form=form,
      run=build.in_processes(1) if template == "checkpoint" else None,
  )
  (found,) = token_file.TokenFile(tmp_path / "built")
  messages = [*TURNS, Message("assistant", "Bye.")]
  expected = chat.encode_conversation(tokenizer, form, messages)
  assert found.tokens.tolist() == expected.ids
  assert found.loss_mask.tolist() == expected.loss_mask
  end = form.end_ids(tokenizer)[0]
  assert (found.tokens[found.loss_mask == 1] == end).sum() == 2
  assert summary["total"]["characters"] == len("Hi\nHello.\nAnd?\nBye.")


def test_one_turn_is_as_text_was(tokenizer):
  """Ids that files had when prompts were texts."""
  row = {"id": "a", "lang": "en", "messages": [
      {"role": "user", "content": "Say hi."},
      {"role": "assistant", "content": "Hi there."},
  ]}
  found = conversations.encode(row, tokenizer, templates.PLAIN)
  asked, said = tokenizer.encode("Say hi.\n"), tokenizer.encode("Hi there.")
  assert found.tokens.tolist() == [1, *asked, *said, 2]
  assert found.tokens.dtype == np.int32
  assert found.loss_mask.tolist() == [0] * (1 + len(asked)) + [1] * (
      len(said) + 1
  )
