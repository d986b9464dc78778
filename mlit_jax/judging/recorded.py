"""Judgments that exist already: recorded ones, and people's."""

import os
from collections.abc import Sequence

from mlit_jax import records
from mlit_jax.judging import judges


class RecordedJudge:
  """Gives again what a file of judgments holds; see judges.Judge.

  A person's judgment has no reply in words: its verdict or score is put into
  the form in which a protocol reads it.
  """

  reads_prompt = False

  def __init__(self, name: str, path: str | os.PathLike):
    """Reads a file.

    Raises:
      RecordError: it cannot be used; names file and line.
      JudgeError: it holds two judgments of one question.
    """
    self.name, self._path = name, path
    self._found = {}
    for judgment in records.read_records(path, records.Judgment):
      key = _key(judgment, (judgment.system_a, judgment.system_b))
      if key in self._found:
        raise judges.JudgeError(
            f"{path}: two judgments of {_words(key)}; keep one"
        )
      self._found[key] = judgment

  def judge(self, requests: Sequence[judges.Request]) -> list[judges.Reply]:
    """See judges.Judge.

    Raises:
      JudgeError: the file lacks a judgment; names it.
    """
    return [self._reply(request) for request in requests]

  def _reply(self, request: judges.Request) -> judges.Reply:
    key = _key(request, (*request.systems, "")[:2])
    if key not in self._found:
      hint = ""
      other = (*key[:3], key[3][::-1], *key[4:])
      if other in self._found:
        hint = (
            "; it has the other order alone (`mlit annotate make --both_orders`"
            " has people asked in both)"
        )
      raise judges.JudgeError(
          f"{self._path}: no judgment of {_words(key)}{hint}"
      )
    judgment = self._found[key]
    failure = judgment.failure
    return judges.Reply(
        judgment.raw or _in_words(judgment),
        failure if failure in judges.JUDGE_FAILURES else "",
        judgment.finish_reason,
        judgment.revision,
        judgment.usage,
        judgment.prompt,
    )


def _key(row, systems: tuple[str, ...]) -> tuple:
  return (
      row.protocol, row.id, row.lang, row.order, row.turn, row.sample, *systems
  )


def _words(key: tuple) -> str:
  protocol, id_, lang, order, turn, sample, a, b = key
  against = f" against {b}" if b else ""
  return (
      f"{id_} {lang} ({protocol}, {a}{against}, order {order}, turn {turn},"
      f" sample {sample})"
  )


def _in_words(judgment: records.Judgment) -> str:
  """A judgment without a reply, as one."""
  if judgment.failure:
    return ""
  if judgment.scores:
    shown = ", ".join(f"{judgment.scores[side]:g}" for side in judgment.order)
    return f"[[{shown}]]"
  if judgment.score is not None:
    if judgment.protocol == "correctness":
      return f"[[{'YES' if judgment.score else 'NO'}]]"
    return f"[[{judgment.score:g}]]"
  if judgment.verdict == "tie":
    return "[[C]]"
  return "[[" + "AB"[judgment.order.index(judgment.verdict)] + "]]"
