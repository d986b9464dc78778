"""LIMA and its translations: curated conversations."""

from mlit_jax.data.quality import BadRow
from mlit_jax.data.sources import by_language, fields
from mlit_jax.data.sources.source import Source
from mlit_jax.records import Instruction, Message


def _lima(
    path, bad, wanted, *, lang="en", files="", split="train", turns="all"
):
  fields.check_turns(turns)
  for code, row in by_language.rows(
      path, bad, wanted, lang=lang, files=files, split=split
  ):
    with bad.catch(row):
      messages, response = _conversation(row.data)
      if turns == "first":
        messages, response = fields.first_turn(messages, response)
      source = fields.optional(row.data, "source")
      yield row, Instruction(
          id=f"lima/{row.index}",
          lang=code,
          messages=messages,
          response=response,
          extra={"source": source} if source else {},
      )


def _conversation(row):
  """The turns, which LIMA gives as texts and some of its translations not."""
  turns = row.get("conversations")
  if not isinstance(turns, list) or not turns:
    raise BadRow(
        "missing_field" if turns is None else "wrong_type",
        f"'conversations' must be a list of texts, not {turns!r:.60}",
    )
  if isinstance(turns[0], dict):
    return fields.conversation(turns)
  roles = ("user", "assistant")
  named = [{"text": turn} for turn in turns]
  messages = [
      Message(roles[n % 2], fields.text(turn, "text"))
      for n, turn in enumerate(named)
  ]
  # The test file has questions alone; a longer conversation has an answer.
  if len(messages) > 1 and messages[-1].role == "user":
    raise BadRow("turns", f"the last of {len(messages)} turns has no reply")
  return fields.split_reply(messages)


LIMA = Source(
    name="lima",
    summary="LIMA: 1,030 curated conversations, and its translations (Lima-X)",
    files="train.jsonl or test.jsonl of GAIR/lima with {conversations: [text,"
    " ...], source}; or a folder with a file per language, in the same order",
    licence="CC BY-NC-SA, or stricter where its sources are",
    languages="en; others as translated",
    options={
        **by_language.OPTIONS,
        "turns": "all, or first: the first question and its reply",
    },
    has_distinct_ids=True,
    instructions=_lima,
)
