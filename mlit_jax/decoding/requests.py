"""What is asked of the engine, and what it gives."""

import dataclasses
import math
from collections.abc import Collection

NOT_FINITE = (
    "the model's logits are not finite: no token is the likeliest; its weights"
    " are damaged, or too large for the dtype"
)


@dataclasses.dataclass(frozen=True)
class Request:
  """A prompt to continue.

  Attributes:
    id: names the request in results.
    tokens: the prompt, begin token first.
    max_new_tokens: where to stop at the latest.
    temperature: 0 decodes greedily.
    seed: of the samples.
    top_k, top_p, min_p, repetition_penalty: as of sampling.Choice.
    adapter: the adapter it asks for; None: the base alone.
    stop: strings that end the answer, which does not hold them.
    logprobs: whether the result gives them.
  """

  id: str
  tokens: tuple[int, ...]
  max_new_tokens: int
  temperature: float = 0.0
  seed: int = 0
  top_k: int = 0
  top_p: float = 1.0
  min_p: float = 0.0
  repetition_penalty: float = 1.0
  adapter: str | None = None
  stop: tuple[str, ...] = ()
  logprobs: bool = False


@dataclasses.dataclass(frozen=True)
class Result:
  """A finished request.

  Attributes:
    id: the request's.
    tokens: what was generated, without the end token.
    finish_reason: `stop` (an end token or a stop string came), `length`, or
      `error`.
    ended: whether it was an end token that came.
    text: the answer before the stop string, where the request names any.
    logprobs: of every token, the end token's last; () if not asked for.
    score: of beam search.
    failure: why the request could not be decoded; "": it was.
  """

  id: str
  tokens: tuple[int, ...]
  finish_reason: str
  ended: bool = False
  text: str | None = None
  logprobs: tuple[float, ...] = ()
  score: float | None = None
  failure: str = ""

  @property
  def num_tokens(self) -> int:
    """Tokens generated, the end token included."""
    return len(self.tokens) + self.ended


def fault(
    request: Request,
    adapters: Collection[str | None],
    vocab_size: int,
    max_length: int,
) -> str:
  """What keeps a model from decoding a request; "": nothing.

  Args:
    request: to be checked.
    adapters: that there are, None for the base alone.
    vocab_size: of the model.
    max_length: tokens that prompt and answer may have together.
  """
  if request.adapter not in adapters:
    names = ", ".join(str(n) for n in adapters if n) or "none"
    return f"unknown adapter {request.adapter!r}; there are: {names}"
  prompt, new = request.tokens, request.max_new_tokens
  if not prompt:
    return "the prompt is empty; give at least one token"
  if new < 1:
    return f"max_new_tokens is {new}; give at least 1"
  if len(prompt) + new > max_length:
    return (
        f"{len(prompt)} prompt tokens and {new} new ones exceed the model's"
        f" length of {max_length}; shorten one of them"
    )
  if strange := [t for t in prompt if not 0 <= t < vocab_size]:
    return (
        f"token {strange[0]} is not one of the model's {vocab_size}; use the"
        " model's own tokenizer"
    )
  for name, lowest, highest in (
      ("temperature", 0, math.inf), ("top_p", 0, 1), ("min_p", 0, 1),
      ("repetition_penalty", 0, math.inf),
  ):
    value = getattr(request, name)
    # Neither is NaN, and no infinite number.
    if not lowest <= value <= highest or value == math.inf:
      limits = "0 up" if highest == math.inf else "0 to 1"
      return f"{name} {value} must be a number from {limits}"
  if request.top_p == 0 or request.repetition_penalty == 0:
    return "top_p and repetition_penalty must be above 0"
  if request.top_k < 0:
    return f"top_k {request.top_k} must be a whole number from 0 up"
  if not 0 <= request.seed < 2**31:
    return f"seed {request.seed} must lie between 0 and 2**31 - 1"
  if "" in request.stop:
    return "a stop string is empty"
  return ""
