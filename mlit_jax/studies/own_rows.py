"""Looks at rows of one's own before a study begins.

What would stop it later is an error now. What would spoil it in silence (ends
that are cut off, questions that were learnt, a language written in another's
script) is said, and it goes on.
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

from mlit_jax import languages as languages_lib
from mlit_jax import scripts
from mlit_jax.data import conversations, templates, tokenizers
from mlit_jax.errors import UsageError
from mlit_jax.records import Instruction, Message
from mlit_jax.studies import material, pipeline

_READER = "rows"
# More than this is not read once more only to be looked at.
_MOST_BYTES = 1 << 28
# Rows whose tokens are counted: enough to see that some are too long.
_LOOKED_AT = 1000
# A language's beginning, in which its script is looked for.
_CHARACTERS = 4000


def look(config) -> list[str]:
  """What the user should know of the rows before they are used.

  Only files that the reader `rows` reads are looked at, of up to 256 MB: what
  is learnt from and what is asked (`train` and `evaluation` in the config).

  Args:
    config: of the study.

  Returns:
    Sentences, each of one line.

  Raises:
    UsageError: there are no rows; or one has no response that the study needs.
  """
  learnt, asked = _read(config, config.train), _read(config, config.evaluation)
  if learnt:
    _answered(config, config.train, learnt, "to learn")
  if asked and config.judge == "reference":
    _answered(
        config, config.evaluation, asked, "that the reference judge could"
        " compare with"
    )
  found = []
  for name, rows in ((config.train, learnt), (config.evaluation, asked)):
    found += _foreign(config, name, rows)
  return [*found, *_too_long(config, learnt), *_known(config, learnt, asked)]


def _read(config, name: str) -> list[Instruction]:
  given = pipeline.given(config)
  reader, _, path = given.get(name, "").partition(":")
  if reader != _READER or path.startswith(("hf:", "tfds:")):
    return []
  files = pathlib.Path(path)
  every = files.rglob("*") if files.is_dir() else [files]
  if sum(x.stat().st_size for x in every if x.is_file()) > _MOST_BYTES:
    return []
  # One that is still to be translated has rows in its own language alone.
  wanted = {*config.languages, pipeline.origin(config, name)}
  rows = list(material.instructions(name, sorted(wanted), given).values())
  if not rows:
    raise UsageError(
        f"{_source(config, name)} has no rows in"
        f" {' '.join(config.languages)}"
    )
  return rows


def _source(config, name: str) -> str:
  return f"sources.{name}={pipeline.given(config)[name]}"


def _answered(config, name: str, rows: Sequence[Instruction], why: str) -> None:
  without = [row for row in rows if not row.response.strip()]
  if without:
    raise UsageError(
        f"{_source(config, name)}: no response {why} in {len(without):,} of"
        f" {len(rows):,} rows, the first {without[0].id!r}"
        f" [{without[0].lang}]; add a 'response', or leave the rows out"
    )


def _foreign(config, name: str, rows: Sequence[Instruction]) -> Iterator[str]:
  """Languages whose rows are all in the script of another."""
  for lang in dict.fromkeys(row.lang for row in rows):
    text, own = "", (row for row in rows if row.lang == lang)
    for row in own:
      text += f"{row.prompt}\n{row.response}\n"
      if len(text) > _CHARACTERS:
        break
    letters, share = scripts.share(text, lang)
    if letters >= scripts.MIN_LETTERS and share < scripts.MIN_SHARE:
      yield (
          f"{_source(config, name)}: what is said to be"
          f" {languages_lib.get(lang).name} ({lang}) is not in its script; is"
          " the right language given?"
      )


def _too_long(config, rows: Sequence[Instruction]) -> Iterator[str]:
  """Rows that lose their end, which is what is learnt."""
  if not (rows and config.base and config.tune.get("truncate")):
    return
  limit = config.tune.row_length
  sample = rows[:: max(1, len(rows) // _LOOKED_AT)]
  tokenizer = tokenizers.load(pipeline.base_directory(config))
  form = templates.get(config.template)
  examples = [
      conversations.encode(_conversation(row), tokenizer, form)
      for row in sample
  ]
  long = [x for x in examples if len(x.tokens) > limit]
  if long:
    lost = sum(not x.loss_mask[:limit].any() for x in long)
    yield (
        f"{_source(config, config.train)}: longer than"
        f" --study.tune.row_length={limit} tokens: {len(long):,} of"
        f" {len(sample):,} rows, which lose their end ({lost:,} the whole"
        f" response); the longest has {max(len(x.tokens) for x in long):,}"
    )


def _conversation(row: Instruction) -> dict:
  answer = Message("assistant", row.response)
  messages = [dataclasses.asdict(m) for m in (*row.messages, answer)]
  return {"id": row.id, "lang": row.lang, "messages": messages}


def _known(
    config, learnt: Sequence[Instruction], asked: Sequence[Instruction]
) -> Iterator[str]:
  """Questions that stand among the examples: word for word, or by their id."""
  seen = {(row.lang, _words(row)) for row in learnt}
  both, same, ids = [], [], {row.id for row in learnt}
  for row in asked:
    if (row.lang, _words(row)) in seen:
      both.append(row)
    elif row.id in ids:
      same.append(row)
  if both:
    yield (
        f"{_source(config, config.evaluation)}: {len(both):,} of"
        f" {len(asked):,} questions are also examples to learn from, the first"
        f" {both[0].id!r} [{both[0].lang}]; ask others, or scores show what was"
        " remembered"
    )
  if same:
    yield (
        f"{_source(config, config.evaluation)}: {len(same):,} of"
        f" {len(asked):,} questions have the id of an example, the first"
        f" {same[0].id!r} [{same[0].lang}]: rows of one id are one item, in"
        " other languages, and are best learnt or asked; give others ids of"
        " their own"
    )


def _words(row: Instruction) -> tuple[str, ...]:
  return tuple(" ".join(x.content.split()) for x in row.messages)
