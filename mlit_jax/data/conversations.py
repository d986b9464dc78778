"""Instructions of one turn or several as rows that are built into tokens.

Each row is tokenized by chat.py, which decoding uses, too: special tokens stand
where the template has them, and the loss counts on every answer and its end.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from mlit_jax.data import chat
from mlit_jax.data.counts import RecipeError
from mlit_jax.data.manifest import Manifest
from mlit_jax.data.token_file import TokenExample
from mlit_jax.data.tokenizer_base import Tokenizer
from mlit_jax.records import Instruction, Message


def rows(
    manifest: Manifest, instructions: Mapping[tuple[str, str], Instruction]
) -> list[dict]:
  """A manifest's rows: `id`, `lang`, and `messages`, which end with an answer.

  Args:
    manifest: which instruction in which language.
    instructions: the source, by (id, language).

  Raises:
    RecipeError: the source lacks an example that the manifest names, or its
      response.
  """
  found = []
  for row in manifest.rows:
    try:
      asked = instructions[row.id, row.lang]
      answered = instructions[row.response_id, row.response_lang or row.lang]
    except KeyError as e:
      raise RecipeError(f"the source has no example {e}") from None
    if not answered.response:
      raise RecipeError(
          f"example {answered.id!r} [{answered.lang}] has no response to learn"
      )
    answer = Message("assistant", answered.response)
    messages = [dataclasses.asdict(m) for m in (*asked.messages, answer)]
    found.append({"id": row.id, "lang": row.lang, "messages": messages})
  return found


def encode(row: Mapping, tokenizer: Tokenizer, form: chat.Form) -> TokenExample:
  """A row's tokens.

  Raises:
    UsageError: the tokenizer lacks a special token of the template.
    TemplateError: a checkpoint's template cannot take this conversation.
  """
  messages = [Message(**m) for m in row["messages"]]
  encoded = chat.encode_conversation(tokenizer, form, messages)
  mask = np.asarray(encoded.loss_mask, np.uint8)
  mask[:1] = 0  # nothing foretells a row's first token
  return TokenExample(
      np.asarray(encoded.ids, np.int32), mask, row["id"], row["lang"]
  )


def text(row: Mapping) -> str:
  """All that is said in a row."""
  return "\n".join(m["content"] for m in row["messages"])
