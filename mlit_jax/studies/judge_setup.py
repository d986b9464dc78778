"""A judge from its specification, with everything it needs."""

import contextlib
import dataclasses
import importlib
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mlit_jax import cache
from mlit_jax.errors import UsageError
from mlit_jax.judging import (
    batch,
    gemini_batch,
    judges,
    local,
    openai_batch,
    pacing,
    recorded,
    reference,
    remote,
    specs,
)
from mlit_jax.judging import gate as gate_lib


@dataclasses.dataclass(frozen=True)
class Options:
  """How a judge is asked; each kind of judge takes what concerns it.

  Attributes:
    replies: the file of stored replies.
    journal: of what is under way (a provider's requests and jobs).
    key_file, temperature, max_tokens, request_options: see specs.make_vendor.
    limits: of a provider.
    batch: whether to use the provider's batch API.
    poll_seconds: how often to look after such a job.
    template, batch_size: of a local model.
    cap_counts_stored: whether what stored replies cost counts against the cap,
      as where many runs share a store and a cap.
  """

  replies: pathlib.Path
  journal: pathlib.Path
  key_file: str | None = None
  temperature: float = 0
  max_tokens: int = 1024
  request_options: Mapping[str, Any] | None = None
  limits: pacing.Limits = dataclasses.field(default_factory=pacing.Limits)
  batch: bool = False
  poll_seconds: float = 30
  template: str = "plain"
  batch_size: int = 16
  cap_counts_stored: bool = False


@contextlib.contextmanager
def judge(
    spec: specs.Spec,
    options: Options,
    languages: Sequence[str],
    show: Callable[[str], None] = lambda text: None,
    gate: gate_lib.Gate | None = None,
) -> Iterator[judges.Judge]:
  """The judge of a specification, for as long as its store is open.

  Args:
    spec: of the judge.
    options: how it is asked.
    languages: of the prompts, and what answers may be in.
    show: shows the progress.
    gate: tells the reference judge an answer's language.

  Raises:
    UsageError: the judge cannot be had, e.g. for want of a key.
  """
  if spec.kind == "reference":
    if gate is None:
      raise UsageError("the reference judge needs a language gate")
    yield reference.ReferenceJudge(gate, languages)
    return
  if spec.kind in ("replay", "human"):
    yield recorded.RecordedJudge(spec.text, spec.name)
    return
  if spec.kind == "local":
    made = _generator(spec, options)
    with cache.Cache(options.replies) as store:
      yield local.LocalJudge(spec.text, made, made.identity, store, show)
    return
  made = vendor(spec, options)
  with cache.Cache(options.replies) as store:
    # The cap of a study holds for all of its steps together.
    spent = 0.0
    if options.cap_counts_stored:
      # A reply of unknown length may have been the longest.
      spent = sum(
          options.limits.cost({"output": options.max_tokens, **reply["usage"]})
          for reply in store.values()
      )
    if options.batch:
      module = openai_batch.OpenAIJobs
      if spec.kind == "gemini":
        module = gemini_batch.GeminiJobs
      found = batch.BatchJudge(
          spec.text, module(made), store,
          options.journal.with_suffix(".jobs"), options.limits,
          poll_seconds=options.poll_seconds, show=show,
      )
    else:
      found = remote.RemoteJudge(
          spec.text, made, store, options.limits, journal=options.journal,
          show=show,
      )
    found.spent = spent
    yield found


def plan(
    spec: specs.Spec, options: Options, requests: Sequence[judges.Request]
) -> remote.Plan:
  """What asking would take; asks nothing and needs no key.

  Raises:
    UsageError: the judge is not asked anything that costs.
  """
  if not spec.is_language_model:
    raise UsageError(f"{spec.text} costs nothing; leave --dry-run out")
  if spec.kind == "local":
    made = _generator(spec, options)
    identity = {"protocol": "local", **made.identity}
  else:
    identity = vendor(spec, options, need_key=False).identity
  with contextlib.ExitStack() as stack:
    store = frozenset()
    if options.replies.exists():
      store = stack.enter_context(cache.Cache(options.replies))
    return remote.plan(
        identity, options.max_tokens, store, options.limits, requests
    )


def prices(option: str, text: str | None) -> tuple[float, float]:
  """What a million tokens cost, in and out, from IN,OUT; 0 where not given.

  Raises:
    UsageError: it is something else; names the option.
  """
  try:
    found = tuple(float(part) for part in (text or "0,0").split(","))
  except ValueError:
    found = ()
  if len(found) != 2 or not all(0 <= p < float("inf") for p in found):
    raise UsageError(
        f"{option} {text!r} is not two numbers, e.g. 0.15,0.6: what a million"
        " tokens cost, in and out"
    )
  return found


def vendor(spec: specs.Spec, options: Options, need_key: bool = True):
  """What speaks to the provider of an `openai` or `gemini` judge.

  Raises:
    UsageError: a package or the key is missing.
  """
  wanted = {"openai": "httpx", "gemini": "google.genai"}[spec.kind]
  try:
    importlib.import_module(wanted)
  except ImportError:
    raise UsageError(
        f"{spec.text} needs the package {wanted}: in the folder of mlit-jax,"
        " pip install -e '.[judges]'"
    ) from None
  return specs.make_vendor(
      spec, key_file=options.key_file, temperature=options.temperature,
      max_tokens=options.max_tokens, options=options.request_options,
      need_key=need_key,
  )


def _generator(spec: specs.Spec, options: Options):
  from mlit_jax.studies import local_judge

  return local_judge.Generator(
      pathlib.Path(spec.name), template=options.template,
      temperature=options.temperature, max_tokens=options.max_tokens,
      batch_size=options.batch_size,
  )
