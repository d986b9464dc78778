"""OpenAssistant: trees of messages, replies ranked by people."""

import itertools
from collections.abc import Iterable, Iterator, Mapping

from mlit_jax.data.quality import BadRow, BadRows, Row
from mlit_jax.data.sources import fields, rows
from mlit_jax.data.sources.source import Source
from mlit_jax.records import Instruction, Message

# A whole tree stands on a line of the tree files.
_MAX_TREE_BYTES = 1 << 24
_EXPORTED = "ready_for_export"


def _oasst(path, bad, wanted, *, split="train", turns="first"):
  fields.check_turns(turns)
  raw = rows.read(path, bad, split=split, max_row_bytes=_MAX_TREE_BYTES)
  seen = set()
  # The messages of a tree stand together, in both kinds of file.
  for tree, group in itertools.groupby(raw, key=_tree_id):
    row, root, replies = _read_tree(group, bad)
    with bad.catch(row):
      if tree is not None and tree in seen:
        raise BadRow(
            "duplicate_id",
            f"the messages of tree {tree} do not stand together; sort the"
            " file by message_tree_id",
        )
      seen.add(tree)
      if root is None or not _is_usable(root) or (
          root["tree_state"] != _EXPORTED
      ):
        continue
      lang = fields.known_language(fields.text(root, "lang"), wanted)
      messages = _follow(root, replies)
      if turns == "first":
        messages = messages[:2]
      if lang is None or len(messages) < 2:
        continue
      yield row, Instruction(
          id=f"oasst/{tree}",
          lang=lang,
          messages=tuple(messages[:-1]),
          response=messages[-1].content,
      )


def _tree_id(row: Row) -> str | None:
  tree = row.data.get("message_tree_id")
  return tree if isinstance(tree, str) else None


def _read_tree(
    group: Iterable[Row], bad: BadRows
) -> tuple[Row, Mapping | None, Mapping[str, list[Mapping]]]:
  """The first row, the root, and the replies by their parent's id."""
  first, root = None, None
  replies: dict[str, list[Mapping]] = {}
  for row in group:
    first = first or row
    with bad.catch(row):
      fields.text(row.data, "message_tree_id")
      state = row.data.get("tree_state", _EXPORTED)
      # Of a tree on one line all is read before any of it is used.
      for message, parent in list(_messages(row.data)):
        if parent is None:
          root = {**message, "tree_state": state}
        else:
          replies.setdefault(parent, []).append(message)
  return first, root, replies


def _messages(row: Mapping) -> Iterator[tuple[Mapping, str | None]]:
  """(message, its parent's id) of a row: one message, or a whole tree."""
  if "prompt" not in row:
    _check(row)
    yield row, row.get("parent_id")
    return
  waiting = [(row["prompt"], None)]
  while waiting:
    message, parent = waiting.pop()
    _check(message)
    yield message, parent
    replies = message.get("replies") or []
    if not isinstance(replies, list):
      raise BadRow("wrong_type", f"'replies' must be a list: {replies!r:.60}")
    waiting += [(reply, message["message_id"]) for reply in reversed(replies)]


def _check(message: Mapping) -> None:
  if not isinstance(message, Mapping):
    raise BadRow("wrong_type", f"a message is no object: {message!r:.60}")
  fields.text(message, "message_id")
  if message.get("role") not in ("prompter", "assistant"):
    raise BadRow("wrong_value", f"the role {message.get('role')!r} is unknown")
  rank = message.get("rank")
  if rank is not None and (
      isinstance(rank, bool) or not isinstance(rank, int | float)
  ):
    raise BadRow("wrong_type", f"'rank' must be a number, not {rank!r:.40}")
  if not message.get("deleted"):
    fields.text(message, "text")


def _is_usable(message: Mapping) -> bool:
  """Neither deleted nor machine-made nor turned down by the reviewers."""
  return not (
      message.get("deleted")
      or message.get("synthetic")
      or message.get("review_result") is False
  )


def _follow(
    root: Mapping, replies: Mapping[str, list[Mapping]]
) -> list[Message]:
  """The conversation along the best-ranked replies, up to an assistant's."""
  roles = {"prompter": "user", "assistant": "assistant"}
  turns = []
  message = root
  while message is not None:
    turns.append(Message(roles[message["role"]], message["text"]))
    asked = "assistant" if message["role"] == "prompter" else "prompter"
    usable = [
        reply
        for reply in replies.get(message["message_id"], ())
        if reply["role"] == asked and _is_usable(reply)
    ]
    # 0 is the best; of replies that nobody ranked the first is taken.
    message = min(
        usable, key=lambda x: (x.get("rank") is None, x.get("rank") or 0),
        default=None,
    )
  return turns if turns[-1].role == "assistant" else turns[:-1]


OASST = Source(
    name="oasst",
    summary="OpenAssistant: conversations of volunteers; of each tree the"
    " best-ranked reply, and of that again the best-ranked",
    files="..._ready.trees.jsonl.gz or ..._ready.messages.jsonl.gz of"
    " OpenAssistant/oasst1 or oasst2, or hf:OpenAssistant/oasst1",
    licence="Apache-2.0",
    languages="35; name those you want",
    options={
        "split": "train or validation, where there are several (train)",
        "turns": "first: the question and its reply; or all of the turns",
    },
    has_distinct_ids=True,
    instructions=_oasst,
)
