"""A judge that is a model on this machine.

Models are none of this package's business: whoever loads one hands in what
generates replies.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mlit_jax import cache, records
from mlit_jax.judging import judges, remote

# (prompts, seeds) -> (index of the prompt, its reply), as they finish.
Generate = Callable[
    [Sequence[Sequence[records.Message]], Sequence[int]],
    Iterable[tuple[int, judges.Reply]],
]
_SEEDS = 2**31


class LocalJudge:
  """Asks a model, all requests of a file as one batch; see judges.Judge."""

  reads_prompt = True

  def __init__(
      self,
      name: str,
      generate: Generate,
      identity: Mapping[str, Any],
      store: cache.Cache,
      show: Callable[[str], None] = lambda text: None,
  ):
    """Sets up a judge.

    Args:
      name: for messages.
      generate: answers prompts with the model.
      identity: everything about the model that could change a reply: its
        weights, template, sampling.
      store: of replies.
      show: shows the progress.
    """
    self.name = name
    self.identity = {"protocol": "local", **identity}
    self._generate, self._store, self._show = generate, store, show

  def judge(self, requests: Sequence[judges.Request]) -> list[judges.Reply]:
    """See judges.Judge; a reply is stored when it is there."""
    names = [remote.name(self.identity, request) for request in requests]
    waiting = {
        key: request for key, request in zip(names, requests, strict=True)
        if key not in self._store
    }
    failed = {}
    if waiting:
      order = list(waiting)
      replies = self._generate(
          [waiting[key].prompt for key in order],
          # From the key, so that a sample does not depend on its neighbours.
          [int(key[:16], 16) % _SEEDS for key in order],
      )
      for done, (index, reply) in enumerate(replies, start=1):
        if reply.failure == "transport":
          failed[order[index]] = reply
        else:
          self._store.put(order[index], remote.row(reply))
        self._show(f"{done}/{len(order)} replies")
    return [
        failed.get(key) or judges.Reply(**self._store.get(key)) for key in names
    ]
