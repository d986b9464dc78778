"""pinch: transfer against what a base that is given has read."""

import collections
import types

import pytest

from mlit_jax import records
from mlit_jax.commands import study as command
from mlit_jax.errors import UsageError
from mlit_jax.studies import pinch, pinch_results
from mlit_jax.studies.report.views import pinch as pinch_view

# Weber et al. (2024): what 24EU-7B has read, in percent.
_EU = "en:43.88,fr:8.65,de:8.48,es:7.63,it:4.64"


def _config(*overrides, spec="pinch:own"):
  return command.load(
      spec, ("--study.languages=en,de,fr,es,pl",
             "--study.experiments=share", *overrides)
  )[2]


def _won(system, lang, wins, number=10):
  """Pairs of which a system wins so many, in both orders."""
  return [
      records.Judgment(
          f"{i}", lang, "side_by_side", "reference", system, f"mono-{lang}",
          order, "", verdict="a" if i < wins else "b",
          gate={"a": lang, "b": lang},
      )
      for i in range(number) for order in ("ab", "ba")
  ]


def test_without_shares_the_figure_is_left_out_and_the_reason_said():
  for spec in ("pinch:own", "pinch:paper"):
    config = _config(spec=spec)
    assert pinch.experiments(config) == ()
    assert "--study.base_shares=LANG:PERCENT" in pinch.left_out(config)["share"]
  few = _config("--study.base_shares=en:90,de:3")
  assert "fewer than two of the languages" in pinch.left_out(few)["share"]
  assert "share" not in pinch.left_out(_config(f"--study.base_shares={_EU}"))


def test_given_shares_are_set_against_transfer():
  config = _config(f"--study.base_shares={_EU}")
  judgments = collections.defaultdict(lambda: collections.defaultdict(list))
  # fr and de have been read more than es: 9 and 7 of 10 won against 2.
  wins = {"fr": 9, "de": 7, "es": 2, "en": 10, "pl": 5}
  for lang, number in wins.items():
    for other in config.languages:
      if other != lang:
        judgments[f"mono-{lang}"][other] = _won(f"mono-{lang}", other, number)
  found = types.SimpleNamespace(
      languages=tuple(config.languages), judgments=judgments
  )
  share = pinch_results._Pinch(found, config)._share()
  assert {p["lang"]: (p["share"], p["transfer"]["score"])
          for p in share["points"]} == {
      "de": (8.48, 70.0), "fr": (8.65, 90.0), "es": (7.63, 20.0),
  }
  # Of (8.48, 70), (8.65, 90), (7.63, 20), by hand: deviations .2267, .3967,
  # -.6233 and 10, 30, -40; their products' sum 39.1; squares .5973 and 2600.
  assert share["pearson"]["r"] == pytest.approx(
      39.1 / (0.59727 * 2600) ** 0.5, abs=1e-4
  )
  assert share["pearson"]["n"] == 3
  section = pinch_view._share(
      {"languages": list(config.languages),
       "judge": {"spec": "reference", "is_language_model": False}}, share,
  )
  (chart,) = section.items
  assert "those that the study was given" in chart.reading
  assert "Of Polish the share is not known." in chart.reading


@pytest.mark.parametrize("value, words", [
    ("de", "'de'; write LANG:PERCENT"), ("de:much", "'de:much'; write"),
    ("de:-1", "'de:-1'"), ("de:1,de:2", "each language once"),
    ("de:60,fr:60", "120 percent in all"),
])
def test_wrong_shares_are_a_line(value, words):
  with pytest.raises(UsageError) as error:
    _config(f"--study.base_shares={value}")
  assert words in str(error.value) and "\n" not in str(error.value)


def test_the_pocket_worlds_base_has_shares_of_its_own():
  with pytest.raises(UsageError, match="pretrain.shares"):
    command.load("pinch:pocket", ("--study.base_shares=en:50",))
