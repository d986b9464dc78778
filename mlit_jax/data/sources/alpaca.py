"""Alpaca and its kin: one question with an answer per row."""

from mlit_jax.data.quality import BadRow
from mlit_jax.data.sources import by_language, fields
from mlit_jax.data.sources.source import Source
from mlit_jax.errors import UsageError
from mlit_jax.records import Instruction

# AlpacaFarm's evaluation set names where each instruction comes from.
_FARM_PARTS = ("helpful_base", "koala", "oasst", "selfinstruct", "vicuna")
_FARM_SUBSETS = {"all": _FARM_PARTS, "no_oasst": tuple(
    part for part in _FARM_PARTS if part != "oasst"
)}


def _alpaca(path, bad, wanted, *, lang="en", files="", split="train"):
  for code, row in by_language.rows(
      path, bad, wanted, lang=lang, files=files, split=split
  ):
    with bad.catch(row):
      yield row, Instruction(
          id=f"alpaca/{row.index}",
          lang=code,
          messages=_question(row, "input"),
          response=fields.text(row.data, "output"),
      )


def _dolly(path, bad, wanted, *, lang="en", files="", split="train"):
  for code, row in by_language.rows(
      path, bad, wanted, lang=lang, files=files, split=split
  ):
    with bad.catch(row):
      yield row, Instruction(
          id=f"dolly/{row.index}",
          lang=code,
          messages=_question(row, "context"),
          response=fields.text(row.data, "response"),
          extra={"category": fields.text(row.data, "category")},
      )


def _bactrian(path, bad, wanted, *, lang="en", files="", split="train"):
  for code, row in by_language.rows(
      path, bad, wanted, lang=lang, files=files, split=split
  ):
    with bad.catch(row):
      yield row, Instruction(
          id=f"bactrian/{fields.number_or_text(row.data, 'id')}",
          lang=code,
          messages=_question(row, "input"),
          response=fields.text(row.data, "output"),
      )


def _alpaca_farm(
    path, bad, wanted, *, lang="en", files="", split="eval", subset="all"
):
  if subset not in _FARM_SUBSETS:
    raise UsageError(
        f"alpaca_farm has no subset {subset!r}; it has"
        f" {' '.join(_FARM_SUBSETS)}"
    )
  for code, row in by_language.rows(
      path, bad, wanted, lang=lang, files=files, split=split
  ):
    with bad.catch(row):
      part = fields.text(row.data, "dataset")
      if part not in _FARM_PARTS:
        raise BadRow("wrong_value", f"the dataset {part!r:.40} is not known")
      if part in _FARM_SUBSETS[subset]:
        yield row, Instruction(
            id=f"alpaca_farm/{row.index}",
            lang=code,
            messages=_question(row, "input"),
            response=fields.optional(row.data, "output"),
            extra={"dataset": part},
        )


def _question(row, context: str):
  return fields.ask(
      fields.text(row.data, "instruction"), fields.optional(row.data, context)
  )


ALPACA = Source(
    name="alpaca",
    summary="Alpaca, cleaned: 52K generated instructions, and translations",
    files="alpaca_data_cleaned.json, a list of {instruction, input, output}"
    " (hf:yahma/alpaca-cleaned); or a folder with such a file per language, in"
    " the same order: the place in the list is the parallel id",
    licence="CC BY-NC 4.0",
    languages="en; others as translated",
    options=by_language.OPTIONS,
    has_distinct_ids=True,
    instructions=_alpaca,
)
DOLLY = Source(
    name="dolly",
    summary="Dolly: 15K instructions written by people, in seven categories",
    files="databricks-dolly-15k.jsonl with {instruction, context, response,"
    " category} (hf:databricks/databricks-dolly-15k)",
    licence="CC BY-SA 3.0",
    languages="en; others as translated",
    options=by_language.OPTIONS,
    has_distinct_ids=True,
    instructions=_dolly,
)
BACTRIAN = Source(
    name="bactrian",
    summary="Bactrian-X: 67K instructions (Alpaca and Dolly) in 52 languages",
    files="the folder data/ of MBZUAI/Bactrian-X with <lang>.json.gz, lists of"
    " {instruction, input, id, output}: the id is the parallel id",
    licence="CC BY-NC 4.0",
    languages="52, lucky52's list",
    options=by_language.OPTIONS,
    instructions=_bactrian,
)
ALPACA_FARM = Source(
    name="alpaca_farm",
    summary="AlpacaFarm's evaluation set: 805 instructions",
    files="alpaca_farm_evaluation.json of tatsu-lab/alpaca_farm, a list of"
    " {instruction, input, output, dataset}; or alpaca_eval.json; or a folder"
    " with such a file per language",
    licence="CC BY-NC 4.0",
    languages="en; others as translated",
    options={
        **by_language.OPTIONS,
        "split": "which split, where there are several (eval)",
        "subset": "all (805) or no_oasst (617: without OpenAssistant's part)",
    },
    has_distinct_ids=True,
    instructions=_alpaca_farm,
)
