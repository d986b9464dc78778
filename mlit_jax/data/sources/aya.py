"""Aya: instructions written by speakers of 65 languages."""

from mlit_jax.data.sources import fields, rows
from mlit_jax.data.sources.source import Source
from mlit_jax.records import Instruction


def _aya(path, bad, wanted, *, split="train"):
  for row in rows.read(path, bad, split=split):
    with bad.catch(row):
      lang = fields.known_language(
          fields.text(row.data, "language_code"), wanted
      )
      if lang is None:
        continue
      yield row, Instruction(
          id=f"aya/{split}/{row.index}",
          lang=lang,
          messages=fields.ask(fields.text(row.data, "inputs"), ""),
          response=fields.text(row.data, "targets"),
          extra={
              "annotation_type": fields.optional(row.data, "annotation_type")
          },
      )


AYA = Source(
    name="aya",
    summary="Aya: 204K instructions written by people; not parallel",
    files="the .parquet files of CohereLabs/aya_dataset (or hf: and its name)"
    " with {inputs, targets, language_code, annotation_type}",
    licence="Apache-2.0",
    languages="65, by ISO 639-3; name those you want, as the registry does not"
    " have all",
    options={"split": "train or test (train)"},
    has_distinct_ids=True,
    instructions=_aya,
)
