"""The back ends that `mlit translate --backend SPEC` can name."""

from mlit_jax import languages
from mlit_jax.errors import UsageError

_LOCAL_TEMPLATE = (
    "Translate from {source_name} into {target_name}:\n{text}"
)


def make(args):
  """The back end of the command's options.

  Raises:
    UsageError: an unknown specification, or options that do not fit it.
  """
  name, _, rest = args.backend.partition(":")
  limits = {
      limit: getattr(args, limit)
      for limit in ("max_segments", "max_characters")
      if getattr(args, limit) is not None
  }
  if any(value < 1 for value in limits.values()):
    raise UsageError("--max_segments and --max_characters must be at least 1")
  if args.backend.partition("@")[0] == "google":
    return _google(args, limits)
  if args.glossary:
    raise UsageError("--glossary is for google alone")
  if name == "openai" and "@" in rest:
    return _chat(args, rest, limits)
  if name == "local" and rest:
    return _local(args, rest, limits)
  raise UsageError(
      f"unknown back end {args.backend!r}; known: google,"
      " google@localhost:PORT, openai:MODEL@URL, local:DIR"
  )


def _google(args, limits):
  from mlit_jax.translation import google

  glossaries = {}
  for entry in args.glossary:
    lang, equals, glossary = entry.partition("=")
    if not equals or not glossary:
      raise UsageError(f"--glossary {entry!r}: write it as LANG=ID")
    try:
      glossaries[languages.get(lang).code] = glossary
    except languages.UnknownLanguageError as e:
      raise UsageError(f"--glossary: {e}") from None
  if glossaries and args.location == "global":
    raise UsageError("a glossary has a --location of its own, e.g. us-central1")
  return google.Google(
      args.project, args.location, args.model, glossaries,
      stand_in=args.backend.partition("@")[2], timeout=args.timeout, **limits,
  )


def _chat(args, rest: str, limits):
  from mlit_jax.translation import chat

  limits.pop("max_segments", None)  # it is one
  model, _, url = rest.partition("@http")
  return chat.Chat(
      model, f"http{url}", key_env=args.key_env, key_file=args.key_file,
      timeout=args.timeout, **limits,
  )


def _local(args, directory: str, limits):
  """Lazily loads the model: a dry run and stored replies need none."""
  import hashlib
  import pathlib

  from mlit_jax.translation import backends

  path = pathlib.Path(directory)
  config = path / "config.json"
  if not config.is_file():
    raise UsageError(f"--backend local:{directory}: no model is there")
  # The weights name the model: two under one path must not share replies.
  digest = hashlib.sha256(config.read_bytes())
  for file in sorted(path.glob("*.safetensors")):
    with open(file, "rb") as weights:
      digest.update(hashlib.file_digest(weights, "sha256").digest())
  batch_size = limits.get("max_segments", 64)
  args.concurrency = 1
  return backends.Local(
      f"{path.name}:{digest.hexdigest()[:16]}:{args.max_new_tokens}",
      _Generate(path, args.max_new_tokens, batch_size),
      args.template or _LOCAL_TEMPLATE,
      max_segments=batch_size,
      max_length=limits.get("max_characters", 1_000),
  )


class _Generate:
  """A decoder's greedy continuations of prompts, loaded at the first call."""

  def __init__(self, directory, max_new_tokens: int, batch_size: int):
    self._directory, self._max_new_tokens = directory, max_new_tokens
    self._batch_size, self._answerer = batch_size, None

  def __call__(self, prompts):
    from mlit_jax import cpu, records
    from mlit_jax.decoding.requests import Request
    from mlit_jax.studies.answering import Answerer

    if self._answerer is None:
      cpu.keep_freed_memory()
      self._answerer = Answerer(self._directory, "plain", self._batch_size)
    requests = [
        Request(
            str(number),
            self._answerer.encode([records.Message("user", prompt)]),
            self._max_new_tokens,
        )
        for number, prompt in enumerate(prompts)
    ]
    replies = {
        int(result.id): (
            self._answerer.read(result)
            if result.finish_reason == "stop" else ""
        )
        for result in self._answerer.generate(requests)
    }
    return [replies[number] for number in range(len(prompts))]
