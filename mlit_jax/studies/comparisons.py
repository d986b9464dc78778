"""Judging steps: one system against an opponent per language."""

import functools
import pathlib
from collections.abc import Mapping, Sequence

from mlit_jax import records
from mlit_jax.data import sources
from mlit_jax.data.pocket import text
from mlit_jax.errors import UsageError
from mlit_jax.judging import gate as gate_lib
from mlit_jax.judging import judges, protocols, reference
from mlit_jax.studies import material, pipeline, steps
from mlit_jax.studies.study import Step

JUDGMENTS = "judgments.jsonl"
REFERENCE_NOTE = (
    "The reference judge is not a language model: it compares each answer with"
    " one right answer, letter by letter, after checking its language. It is"
    " made for the closed pocket world and says nothing about free text."
)


@functools.cache
def pocket_gate(languages: tuple[str, ...]) -> gate_lib.LexiconGate:
  """Tells the pocket world's languages apart, by its own words."""
  lines = {code: [s.text for s in text.statements(code)] for code in languages}
  source = sources.pocket_instructions(languages, "train")
  for (_, code), instruction in source.items():
    lines[code].append(instruction.response)
  return gate_lib.LexiconGate.from_text(lines)


def check_judge(spec: str) -> None:
  """Raises UsageError unless there is such a judge."""
  if spec != "reference":
    raise UsageError(f"unknown judge {spec!r}; known: reference")


def make_judge(spec: str, languages: tuple[str, ...]) -> judges.Judge:
  """The judge of a specification; UsageError if there is none."""
  check_judge(spec)
  return reference.ReferenceJudge(pocket_gate(languages), languages)


def judge_languages(
    directory: pathlib.Path,
    spec: str,
    candidates: tuple[str, ...],
    prompts: Sequence[records.Instruction],
    system: pathlib.Path,
    opponents: Mapping[str, pathlib.Path],
) -> None:
  """Judges a system's answers, in each language against that language's model.

  Args:
    directory: judgments.jsonl goes there; the system is `a` throughout.
    spec: of the judge.
    candidates: the languages that the gate chooses from.
    prompts: with references; of the opponents' languages.
    system: responses.jsonl of the system.
    opponents: language -> responses.jsonl of the opponent.
  """
  judge, gate = make_judge(spec, candidates), pocket_gate(candidates)
  ours = records.read_records(system, records.Response)
  judgments = []
  for lang, path in opponents.items():
    theirs = records.read_records(path, records.Response)
    judgments += protocols.judge(
        protocols.SIDE_BY_SIDE,
        judge,
        spec,
        [p for p in prompts if p.lang == lang],
        [r for r in ours if r.lang == lang],
        [r for r in theirs if r.lang == lang],
        gate=gate,
        candidates=candidates,
    )
  records.write_records(directory / JUDGMENTS, judgments)


def score_step(
    config,
    system: str,
    protocol: str,
    languages: Sequence[str],
    prompts: str = "",
) -> Step:
  """The step in which a system's answers are judged, each alone.

  Args:
    config: of the study.
    system: whose answers.
    protocol: the name of one that judges single answers.
    languages: of the prompts.
    prompts: the material; default: the study's own.
  """
  given = pipeline.given(config)
  asked = prompts or config.evaluation
  candidates = tuple(dict.fromkeys([*config.languages, *languages]))

  def work(place, show):
    del show
    path = place.of(pipeline.decoding(system, prompts)) / steps.RESPONSES
    judgments = protocols.judge(
        protocols.PROTOCOLS[protocol],
        make_judge(config.judge, candidates),
        config.judge,
        material.prompts(asked, languages, given),
        records.read_records(path, records.Response),
        gate=pocket_gate(candidates),
        candidates=candidates,
    )
    records.write_records(place.directory / JUDGMENTS, judgments)

  return Step(
      f"judge-{system}" + (f"-{prompts}" if prompts else ""), work,
      {"judge": config.judge, "protocol": protocol, "candidates": candidates},
      (pipeline.decoding(system, prompts),),
  )


def compare(
    directory: pathlib.Path,
    spec: str,
    protocol: str,
    candidates: tuple[str, ...],
    prompts: Sequence[records.Instruction],
    a: pathlib.Path,
    b: pathlib.Path,
) -> None:
  """Judges two systems' answers against each other, by any paired protocol."""
  judge, gate = make_judge(spec, candidates), pocket_gate(candidates)
  judgments = protocols.judge(
      protocols.PROTOCOLS[protocol],
      judge,
      spec,
      prompts,
      records.read_records(a, records.Response),
      records.read_records(b, records.Response),
      gate=gate,
      candidates=candidates,
  )
  records.write_records(directory / JUDGMENTS, judgments)
