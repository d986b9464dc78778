"""Sentences and figures that several studies' pages share."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlit_jax import languages as languages_lib
from mlit_jax.studies.report import spec

# The basis of a table that counts what was done.
COUNTED = (
    "Counts: nothing is estimated, so there is no n and no interval. No judge"
    " takes part."
)
BY_QUESTION = "clustered on the question"
_SMALL = 100_000_000


def language(code: str) -> languages_lib.Language:
  return languages_lib.get(code)


def name(code: str) -> str:
  return language(code).name


def systems(results: Mapping[str, Any]) -> dict[str, Any]:
  """The systems in the study's order, not the file's."""
  return {key: results["systems"][key] for key in results["order"]["systems"]}


def in_order(
    results: Mapping[str, Any], codes: Iterable[str]
) -> list[str]:
  """Languages as the study has them, others behind; files sort their keys."""
  found = set(codes)
  own = [x for x in results["languages"] if x in found]
  return own + sorted(found.difference(own))


def names(codes: Iterable[str]) -> str:
  """Languages in words: "Czech, Russian and Swahili"."""
  found = [name(code) for code in codes]
  if len(found) < 2:
    return "".join(found) or "none"
  return f"{', '.join(found[:-1])} and {found[-1]}"


def judged(
    results: Mapping[str, Any],
    points: Iterable[spec.Point],
    intervals: str = BY_QUESTION,
) -> str:
  """n, interval and judge behind a figure."""
  return (
      f"n = {spec.n_range(points)} behind each number; 95% intervals,"
      f" {intervals}. {judge(results)}"
  )


def judge(results: Mapping[str, Any]) -> str:
  """Who judged, in a sentence."""
  found = results["judge"]
  kind = "" if found["is_language_model"] else ", not a language model"
  return f"Judge: {found['spec']}{kind}."


def measured(
    points: Iterable[spec.Point], intervals: str = BY_QUESTION
) -> str:
  """n and interval of what no judge takes part in."""
  return (
      f"n = {spec.n_range(points)} behind each number; 95% intervals,"
      f" {intervals}. No judge takes part."
  )


def paired(row: Mapping[str, Any], unit: str) -> str:
  """How sure a difference is: n, interval and test."""
  low, high = row["ci"]
  interval = "no interval, as all are the same" if low is None else (
      f"95% interval {low:+.2f} to {high:+.2f}"
  )
  return (
      f"{interval[0].upper()}{interval[1:]}, p = {row['p']:.2g}, n ="
      f" {row['n']:,}; paired and clustered on the {unit}."
  )


def points(series: Iterable[spec.Series]) -> list[spec.Point]:
  return [p for s in series for p in s.points]


def caveats(results: Mapping[str, Any]) -> list[tuple[str, str]]:
  """What to keep in mind, whatever the study."""
  found = []
  judge, base = results["judge"], results["base"]
  if _judged(results) and not judge["is_language_model"]:
    found.append(("The judge is not a language model.", judge["note"]))
  if base["parameters"] < _SMALL:
    found.append((
        "The models are very small.",
        f"The base has {base['parameters']:,} parameters. This shows how the"
        " method behaves, and says nothing about models of the paper's size.",
    ))
  if number := results.get("judgments"):
    found.append(_failures(number, results["failures"]))
  if missing := left_out(results):
    found.append(("Not all of the study was done.", " ".join(missing)))
  found.append((
      "One training run each.",
      f"All models share the seed {results['seed']}. An interval says how far a"
      " score could move with other questions; how far it would move with"
      " another training run was not measured.",
  ))
  return found


def left_out(results: Mapping[str, Any]) -> list[str]:
  """The study's experiments that were not done, and why."""
  return [
      f"Experiment “{name}”: {why}."
      for name, why in results.get("left_out", {}).items()
  ]


def _judged(results: Mapping[str, Any]) -> bool:
  """Whether a judge took part: Lucky 52 compares likelihoods."""
  return results.get("judgments") != 0


def _failures(number: int, failures: Mapping[str, int]) -> tuple[str, str]:
  """How many judgments gave no verdict, and why."""
  failed = sum(failures.values())
  if not failed:
    return "No failures.", f"Each of the {number:,} judgments gave a verdict."
  kinds = ", ".join(f"{kind} {n:,}" for kind, n in sorted(failures.items()))
  return (
      f"Failures: {failed:,} of {number:,} judgments.",
      f"They gave no verdict ({kinds}). What they were to decide counts in no"
      " score, neither for nor against.",
  )


def rates(
    results: Mapping[str, Any], key: str, title: str, reading: str
) -> spec.Table:
  """A rate of results.json by system and language."""
  values = {k: results[key][k] for k in systems(results) if k in results[key]}
  codes = in_order(results, (c for row in values.values() for c in row))
  rows = [
      (system, [
          spec.cell(row.get(code), spec.Place([code], system))
          for code in codes
      ])
      for system, row in values.items()
  ]
  every = [
      spec.estimate("", x) for row in values.values() for x in row.values()
  ]
  return spec.Table(
      key, title, [(code, name(code)) for code in codes], rows, reading,
      measured(every),
  )


def counts(results: Mapping[str, Any]) -> spec.Table:
  """What every system was tuned on."""
  tuned = {k: v for k, v in systems(results).items() if "counts" in v}
  codes = in_order(results, (c for v in tuned.values() for c in v["counts"]))
  rows = [
      (
          system,
          [spec.Cell(v["counts"].get(code, 0)) for code in codes]
          + [
              spec.Cell(sum(v["counts"].values())), spec.Cell(v["steps"]),
              spec.Cell(v["tokens"]),
          ],
      )
      for system, v in tuned.items()
  ]
  return spec.Table(
      "counts", "Examples that each system was tuned on",
      [
          *((code, name(code)) for code in codes),
          ("sum", "examples in all"), ("steps", "training steps"),
          ("tokens", "training tokens"),
      ],
      rows, f"Examples by language, as they were really drawn.{_kept(tuned)}",
      COUNTED, digits=0,
  )


def _kept(systems: Mapping[str, Any]) -> str:
  """Which checkpoints were chosen on examples held out, if any were."""
  chosen = {k: v for k, v in systems.items() if "best_step" in v}
  if not chosen:
    return ""
  listed = ", ".join(
      f"{name}: {row['best_step']} of {row['steps']} ({_loss(row)})"
      for name, row in chosen.items()
  )
  return (
      " Each was kept from the step after which the loss on examples held out"
      f" was lowest, in nats a token: {listed}."
  )


def _loss(row: Mapping[str, Any]) -> str:
  loss = row["validation_loss"]
  return "not a number" if loss is None else f"{loss:.3f}"


def closing(results: Mapping[str, Any]) -> spec.Section:
  """The last section of every page."""
  items: list[spec.Table] = []
  if results.get("exact_match"):
    items += [
        rates(
            results, "exact_match",
            "Answers equal to the reference, in percent",
            "A row is a system, a column the language of the questions.",
        ),
        rates(
            results, "language_consistency",
            "Answers in the language of the question, in percent",
            "An answer whose language could not be told counts as not in it.",
        ),
    ]
  return spec.Section(
      "made", "How it was made", _made(results), [*items, counts(results)]
  )


def _made(results: Mapping[str, Any]) -> Sequence[str]:
  base = results["base"]
  text = (
      f"Base model: {base['parameters']:,} parameters, {base['num_layers']}"
      f" layers of width {base['embed_dim']}, a vocabulary of"
      f" {base['vocab_size']:,}"
  )
  if base.get("tokens_seen"):
    text += f"; pre-trained on {base['tokens_seen']:,} tokens of " + ", ".join(
        f"{name(code)} {100 * share:.1f}%"
        for code, share in base["shares"].items()
    )
  return [
      f"{text}.",
      f"Study {results['study']}, preset {results['preset']}, seed"
      f" {results['seed']}, mlit-jax {results['version']}."
      f" {judge(results) if _judged(results) else 'No judge takes part.'}",
  ]
