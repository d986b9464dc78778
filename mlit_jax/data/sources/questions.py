"""MT-Bench and Vicuna: open questions without answers, for judges."""

from mlit_jax.data.quality import BadRow
from mlit_jax.data.sources import by_language, fields
from mlit_jax.data.sources.source import Source
from mlit_jax.records import Instruction, Message

_MT_BENCH_FILES = (
    *by_language.ROW_FILES,
    "{lang}/question.jsonl",
    "question_{lang}.jsonl",
    "{lang}_mt_bench/question.jsonl",
    "mt_bench_{lang}/question.jsonl",
)


def _mt_bench(path, bad, wanted, *, lang="en", files=""):
  for code, row in by_language.rows(
      path, bad, wanted, lang=lang, files=files, patterns=_MT_BENCH_FILES
  ):
    with bad.catch(row):
      turns = _turns(row.data)
      if len(turns) != 2:
        raise BadRow("turns", f"{len(turns)} turns; MT-Bench asks two")
      yield row, _question("mt_bench", code, row.data, turns)


def _vicuna(path, bad, wanted, *, lang="en", files=""):
  for code, row in by_language.rows(path, bad, wanted, lang=lang, files=files):
    with bad.catch(row):
      turns = (
          _turns(row.data) if "turns" in row.data
          else [fields.text(row.data, "text")]
      )
      yield row, _question("vicuna", code, row.data, turns)


def _turns(row) -> list[str]:
  turns = row.get("turns")
  if not isinstance(turns, list) or not turns:
    raise BadRow(
        "missing_field" if turns is None else "wrong_type",
        f"'turns' must be a list of texts, not {turns!r:.60}",
    )
  return [fields.text({"turns": turn}, "turns") for turn in turns]


def _references(row) -> list[str]:
  """A right answer per turn, "" where there is none."""
  given = row.get("reference") or []
  if not isinstance(given, list) or not all(
      isinstance(x, str | None) for x in given
  ):
    raise BadRow(
        "wrong_type", f"'reference' must be a list of texts: {given!r:.60}"
    )
  return [x or "" for x in given] if any(given) else []


def _question(name, lang, row, turns) -> Instruction:
  extra = {"category": fields.text(row, "category")}
  if references := _references(row):
    extra["reference"] = references
  return Instruction(
      id=f"{name}/{fields.number_or_text(row, 'question_id')}",
      lang=lang,
      messages=tuple(Message("user", turn) for turn in turns),
      extra=extra,
  )


_OPTIONS = {key: by_language.OPTIONS[key] for key in ("lang", "files")}
MT_BENCH = Source(
    name="mt_bench",
    summary="MT-Bench: 80 questions of two turns in eight categories, and"
    " translations; both turns stand in `messages`, one after another",
    files="question.jsonl of FastChat with {question_id, category, turns,"
    " reference}; or a folder with <lang>/question.jsonl, question_<lang>.jsonl"
    " or <lang>.jsonl",
    licence="Apache-2.0",
    languages="en; others as translated",
    options=_OPTIONS,
    instructions=_mt_bench,
)
VICUNA = Source(
    name="vicuna",
    summary="Vicuna: 80 open questions in nine categories, and translations",
    files="question.jsonl of FastChat with {question_id, text or turns,"
    " category}; or a folder with <lang>.jsonl",
    licence="Apache-2.0",
    languages="en; others as translated",
    options=_OPTIONS,
    instructions=_vicuna,
)
