"""Judging steps: one system against an opponent per language."""

import pathlib
from collections.abc import Callable, Mapping, Sequence

from mlit_jax import records
from mlit_jax.studies import asking, material, pipeline, steps
from mlit_jax.studies.study import Place, Step

JUDGMENTS = "judgments.jsonl"


def judge_languages(
    config,
    place: Place,
    show: Callable[[str], None],
    candidates: tuple[str, ...],
    prompts: Sequence[records.Instruction],
    system: pathlib.Path,
    opponents: Mapping[str, pathlib.Path],
) -> None:
  """Judges a system's answers, in each language against that language's model.

  Args:
    config: of the study.
    place: judgments.jsonl goes there; the system is `a` throughout.
    show: shows the progress.
    candidates: the languages that the gate chooses from.
    prompts: with references; of the opponents' languages.
    system: responses.jsonl of the system.
    opponents: language -> responses.jsonl of the opponent.
  """
  ours = records.read_records(system, records.Response)
  comparisons = [
      asking.Comparison(
          [p for p in prompts if p.lang == lang],
          [r for r in ours if r.lang == lang],
          [
              r for r in records.read_records(path, records.Response)
              if r.lang == lang
          ],
      )
      for lang, path in opponents.items()
  ]
  judgments = asking.judge(
      config, place, show, "side_by_side", comparisons, candidates
  )
  records.write_records(place.directory / JUDGMENTS, judgments)


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
    path = place.of(pipeline.decoding(system, prompts)) / steps.RESPONSES
    comparison = asking.Comparison(
        material.prompts(asked, languages, given),
        records.read_records(path, records.Response),
    )
    judgments = asking.judge(
        config, place, show, protocol, [comparison], candidates, asked
    )
    records.write_records(place.directory / JUDGMENTS, judgments)

  return Step(
      f"judge-{system}" + (f"-{prompts}" if prompts else ""), work,
      {
          "protocol": protocol, "candidates": candidates,
          **asking.params(config, protocol, asked, languages),
      },
      (pipeline.decoding(system, prompts),),
      alone=asking.alone(config),
  )


def contest_step(
    config,
    name: str,
    protocol: str,
    a: str,
    b: str,
    languages: Sequence[str],
    prompts: str = "",
) -> Step:
  """The step in which two systems' answers are judged against each other.

  Args:
    config: of the study.
    name: of the step.
    protocol: the name of one that compares two systems.
    a, b: the systems.
    languages: of the questions; other answers are left out.
    prompts: the material; default: the study's own.
  """
  given = pipeline.given(config)
  asked = prompts or config.evaluation
  candidates = tuple(dict.fromkeys([*config.languages, *languages]))

  def work(place, show):
    ours, theirs = (
        [
            row for row in records.read_records(
                place.of(pipeline.decoding(x, prompts)) / steps.RESPONSES,
                records.Response,
            )
            if row.lang in languages
        ]
        for x in (a, b)
    )
    comparison = asking.Comparison(
        material.prompts(asked, languages, given), ours, theirs
    )
    judgments = asking.judge(
        config, place, show, protocol, [comparison], candidates, asked
    )
    records.write_records(place.directory / JUDGMENTS, judgments)

  return Step(
      name, work,
      {
          "protocol": protocol, "candidates": candidates,
          "languages": tuple(languages),
          **asking.params(config, protocol, asked, languages),
      },
      (pipeline.decoding(a, prompts), pipeline.decoding(b, prompts)),
      alone=asking.alone(config),
  )
