"""Who judges: the interface of every judge.

A judge turns requests into raw replies and decides nothing else: parsing,
orders and scores belong to the protocols, so a stored reply can be read anew.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

from mlit_jax import records

# Failures that only the judge can see; the others show in the reply's text.
JUDGE_FAILURES = ("refused", "transport")
# The usage of a request that a provider did not take.
UNPAID = {"input": 0, "output": 0}


class JudgeError(RuntimeError):
  """A judge that cannot go on; the message says why and how to mend it."""


@dataclasses.dataclass(frozen=True)
class Request:
  """One question to a judge.

  Attributes:
    id: the parallel id.
    lang: the language the answers should be in.
    instruction: the turns that were answered, the last one the user's.
    reference: a right answer; "" where there is none.
    answers: the answers in the order in which the judge sees them.
    protocol: the protocol that asks.
    systems: the names of the systems, system a's first in either order.
    order, turn, sample: as in a Judgment.
    prompt: what a language model is asked; empty for judges that read the
      fields above.
  """

  id: str
  lang: str
  instruction: tuple[records.Message, ...]
  reference: str
  answers: tuple[str, ...]
  protocol: str = "side_by_side"
  systems: tuple[str, ...] = ()
  order: str = "ab"
  turn: int = 1
  sample: int = 0
  prompt: tuple[records.Message, ...] = ()


@dataclasses.dataclass(frozen=True)
class Reply:
  """What came back.

  Attributes:
    text: the reply, word for word; of a failure whatever came, e.g. the words
      of the refusal.
    failure: "" or one of JUDGE_FAILURES.
    finish_reason: `stop` or `length`; "" if unknown.
    revision: the model that replied, in the provider's words.
    usage: tokens paid for, {"input", "output"}; empty if unknown.
    prompt: of a recorded reply, the prompt it was the reply to.
  """

  text: str
  failure: str = ""
  finish_reason: str = ""
  revision: str = ""
  usage: Mapping[str, int] = dataclasses.field(default_factory=dict)
  prompt: str = ""

  def __post_init__(self):
    if self.failure and self.failure not in JUDGE_FAILURES:
      raise ValueError(
          f"a judge fails by {JUDGE_FAILURES}, not {self.failure!r}"
      )


class Judge(Protocol):
  """Anything that answers requests: an API, a local model, a reference.

  Attributes:
    name: what it is called in messages.
    reads_prompt: whether it is asked in words (Request.prompt). One that is
      not gives the same reply when asked again, so it is asked once.
  """

  name: str
  reads_prompt: bool

  def judge(self, requests: Sequence[Request]) -> list[Reply]:
    """Returns the reply to each request, in their order.

    Raises:
      JudgeError: it cannot go on; what it has replied so far is kept.
    """
