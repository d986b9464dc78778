"""A context and a continuation as tokens, cut as lm-evaluation-harness does."""

from collections.abc import Iterator, Sequence

from mlit_jax.data.tokenizer_base import Tokenizer


class PairError(ValueError):
  """A pair that cannot be scored; says why and how to mend it."""


def encode(
    tokenizer: Tokenizer, context: str, continuation: str
) -> tuple[list[int], list[int]]:
  """Ids of both, as the harness's Hugging Face back end has them.

  Spaces at the end of the context belong to the continuation; both are encoded
  as one text and cut where the context's own encoding ends, so that a word that
  lies across the border is encoded as a whole. An empty context is the begin
  token, or the end token of a tokenizer without one.

  Args:
    tokenizer: of the model.
    context: what is given; may be empty.
    continuation: what is scored.

  Raises:
    PairError: the continuation has no tokens of its own.
  """
  if not context:
    ids = tokenizer.encode(continuation)
    prefix = prefix_id(tokenizer)
    before, after = [prefix], ids
    if ids[:1] == [prefix]:
      before, after = ids[:1], ids[1:]
  else:
    kept = context.rstrip()
    continuation = context[len(kept) :] + continuation
    begin = list(tokenizer.begin_ids)
    before = begin + tokenizer.encode(kept)
    after = (begin + tokenizer.encode(kept + continuation))[len(before) :]
  if not before:
    raise PairError("the context has no tokens; give a context that has some")
  if not after:
    raise PairError(
        "the continuation has no tokens of its own; give one that is not empty"
    )
  return before, after


def prefix_id(tokenizer: Tokenizer) -> int:
  """What stands for an empty context."""
  if tokenizer.bos_id is not None:
    return tokenizer.bos_id
  return tokenizer.eos_id


def windows(
    tokenizer: Tokenizer, text: str, max_length: int
) -> Iterator[tuple[list[int], list[int]]]:
  """A text of any length as pairs that predict each of its tokens once.

  Every pair but the first has as much context as the model can hold.

  Args:
    tokenizer: of the model.
    text: to be predicted whole.
    max_length: tokens that the model reads at once.
  """
  ids = list(tokenizer.begin_ids) + tokenizer.encode(text)
  first = min(max_length, len(ids))
  if not ids:
    return
  yield [prefix_id(tokenizer)], ids[:first]
  done = first
  while done < len(ids):
    number = min(len(ids) - done, max_length)
    end = done + number
    yield ids[end - max_length - 1 : end - number], ids[end - number : end]
    done += number


def truncate(
    context: Sequence[int], continuation: Sequence[int], max_length: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
  """Drops tokens from the left of the context until both fit.

  The last token is predicted and not read, so max_length + 1 fit.

  Raises:
    PairError: the continuation alone is too long.
  """
  if len(continuation) > max_length:
    raise PairError(
        f"the continuation has {len(continuation)} tokens and the model reads"
        f" {max_length}; shorten it"
    )
  room = max_length + 1 - len(continuation)
  return tuple(context[-room:]), tuple(continuation)
