"""lm-evaluation-harness runs its tasks on any model directory.

  python -m mlit_jax.evals.harness --model mlit --model_args pretrained=DIR
      --tasks xcopa_et

is `lm_eval` with one model more. Needs the extra `eval`.
"""

import functools
import sys
from collections.abc import Sequence

from lm_eval.api.model import LM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import normalize_gen_kwargs

from mlit_jax import partitioning
from mlit_jax.data import checkpoint_template
from mlit_jax.data.chat import Form
from mlit_jax.data.checkpoint_template import TemplateError
from mlit_jax.decoding.requests import Request
from mlit_jax.errors import UsageError
from mlit_jax.evals import conversations, lm, pairs, scoring
from mlit_jax.records import Message

_DTYPES = "float32", "bfloat16"
_DEFAULT_NEW_TOKENS = 256
# Of --gen_kwargs and of tasks, as the harness normalises them.
_GENERATION = frozenset({
    "do_sample", "max_gen_toks", "min_p", "repetition_penalty", "temperature",
    "top_k", "top_p", "until",
})


@register_model("mlit")
class MlitLM(LM):
  """A model directory, as the harness wants it."""

  def __init__(
      self,
      pretrained: str,
      batch_size: int | str = 32,
      max_length: int | None = None,
      template: str = "checkpoint",
      dtype: str = "float32",
      fsdp: int = 1,
      tensor: int = 1,
      peft: str | None = None,
      device: str | None = None,
      max_batch_size: int | None = None,
      **unknown,
  ):
    """Loads the model.

    Args:
      pretrained: a model directory.
      batch_size: rows at once; the harness's `auto` is 32.
      max_length: tokens read at once; default: the model's own.
      template: for --apply_chat_template: a name, a file, or the checkpoint's.
      dtype: of weights and activations: float32 or bfloat16.
      fsdp, tensor: sizes of these axes of the mesh; rows go over what is left.
      peft: an adapter's directory, merged into the weights.
      device, max_batch_size: the harness passes them to every model; not used.
      **unknown: nothing, or the number is not what was asked for.

    Raises:
      UsageError: an argument is not known, or no size.
    """
    del device, max_batch_size
    super().__init__()
    if unknown:
      raise UsageError(
          f"--model_args: mlit has no {', '.join(sorted(unknown))}; it has"
          " pretrained, max_length, template, dtype, fsdp, tensor, peft"
      )
    if dtype not in _DTYPES:
      raise UsageError(f"dtype={dtype}: choose one of {', '.join(_DTYPES)}")
    if str(batch_size).startswith("auto"):
      batch_size = 32
    size = _size("batch_size", batch_size)
    # Checked before the model is read.
    limit = None if max_length is None else _size("max_length", max_length)
    shape = -1, _size("fsdp", fsdp), _size("tensor", tensor)
    self._name, self._template = pretrained, template
    self._size, self._told = size, False
    self._model = scoring.LanguageModel(
        pretrained, batch_size=size, adapter=peft, dtype=dtype,
        mesh=partitioning.make_mesh(shape),
    )
    if limit is not None:
      self._model.max_length = min(limit, self._model.max_length)

  @property
  def max_length(self) -> int:
    return self._model.max_length

  @property
  def tokenizer_name(self) -> str:
    return self._name.replace("/", "__")

  def chat_template(self, chat_template: bool | str = False) -> str:
    """What the harness notes beside its results."""
    return self._template if chat_template else ""

  def apply_chat_template(
      self, chat_history: Sequence[dict], add_generation_prompt: bool = True
  ) -> str:
    """The conversation as the model's template puts it.

    A template that refuses a system's turn is given the others, as the
    harness's Hugging Face back end gives them.

    Args:
      chat_history: turns, {"role", "content"}.
      add_generation_prompt: False where the last turn is an answer that is
        begun (`gen_prefix`); the turn itself says so.
    """
    del add_generation_prompt
    messages = [Message(m["role"], m["content"]) for m in chat_history]
    tokenizer = self._model.tokenizer
    try:
      return conversations.opening(tokenizer, self._form, messages)
    except TemplateError as e:
      others = [m for m in messages if m.role != "system"]
      if len(others) == len(messages) or not others:
        raise
      found = conversations.opening(tokenizer, self._form, others)
      if not self._told:
        print(f"mlit: left out the system's turn: {e}", file=sys.stderr)
      self._told = True
      return found

  @functools.cached_property
  def _form(self) -> Form:
    return checkpoint_template.find(self._template, self._name)

  def loglikelihood(
      self, requests, disable_tqdm: bool = False
  ) -> list[tuple[float, bool]]:
    rows = [request.args for request in requests]
    scores = _all(rows, self._model.score(rows, truncate=True))
    _say_cut(sum(score.is_cut for score in scores), len(rows))
    return [(score.logprob, score.is_greedy) for score in scores]

  def loglikelihood_rolling(
      self, requests, disable_tqdm: bool = False
  ) -> list[float]:
    texts = [request.args[0] for request in requests]
    scores = _all(texts, self._model.rolling(texts))
    return [score.logprob for score in scores]

  def generate_until(self, requests, disable_tqdm: bool = False) -> list[str]:
    tokenizer = self._model.tokenizer
    asked, cut = [], 0
    for i, request in enumerate(requests):
      text, options = request.args
      options = normalize_gen_kwargs(options, _DEFAULT_NEW_TOKENS)
      if unknown := set(options) - _GENERATION:
        raise UsageError(
            f"--gen_kwargs: mlit has no {', '.join(sorted(unknown))}; it has"
            f" {', '.join(sorted(_GENERATION))}"
        )
      new = options["max_gen_toks"]
      room = self._model.room(new)
      if room < 1:
        raise UsageError(
            f"max_gen_toks={new} leaves no room for a prompt in the"
            f" {self.max_length} tokens that the model reads; give fewer in"
            " --gen_kwargs"
        )
      ids = self._model.prompt(text)
      cut += len(ids) > room
      asked.append(
          Request(
              f"{i}",
              # The end of a prompt that is too long counts, as in the harness.
              tuple(ids[-room:]),
              new,
              float(options.get("temperature", 1.0))
              if options["do_sample"] else 0.0,
              seed=i,
              top_k=int(options.get("top_k", 0)),
              top_p=float(options.get("top_p", 1.0)),
              min_p=float(options.get("min_p", 0.0)),
              repetition_penalty=float(options.get("repetition_penalty", 1.0)),
              stop=tuple(filter(None, options["until"])),
          )
      )
    _say_cut(cut, len(asked))
    answers = [""] * len(asked)
    for result in self._model.generate(asked, self._size):
      if result.failure:
        text, _ = requests[int(result.id)].args
        raise pairs.PairError(f"{text!r:.80}: {result.failure}")
      answers[int(result.id)] = (
          tokenizer.decode(result.tokens) if result.text is None
          else result.text
      )
    return answers


def _say_cut(number: int, of: int) -> None:
  if number:
    print(
        f"mlit: {number} of {of} contexts are longer than the model has room"
        " for, and lost their beginning", file=sys.stderr,
    )


def _size(name: str, value: int | str) -> int:
  """A number from 1 up, as --model_args give it."""
  if not str(value).isdecimal() or int(value) < 1:
    raise UsageError(f"{name} must be at least 1, not {value}")
  return int(value)


def _all(asked: Sequence, scores: Sequence[lm.Score | str]) -> list[lm.Score]:
  """The scores; PairError if what was asked has one that failed."""
  found = []
  for row, score in zip(asked, scores, strict=True):
    if isinstance(score, str):
      raise pairs.PairError(f"{row!r:.80}: {score}")
    found.append(score)
  return found


def main() -> int:
  """`lm_eval`; what is wrong with our model or its arguments is one line."""
  from lm_eval.__main__ import cli_evaluate

  try:
    cli_evaluate()
  except Exception as e:
    if not type(e).__module__.startswith("mlit_jax"):
      raise
    print(f"mlit: {' '.join(str(e).split())}", file=sys.stderr)
    return 2 if isinstance(e, UsageError) else 1
  return 0


if __name__ == "__main__":
  sys.exit(main())
