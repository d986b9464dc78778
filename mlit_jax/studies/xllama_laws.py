"""From translations to scaling laws, and from them to shares (xllama)."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from mlit_jax import records
from mlit_jax.analysis import allocation, representation, scaling_law
from mlit_jax.studies import (
    estimates,
    material,
    pipeline,
    representing,
)
from mlit_jax.studies import xllama_systems as models
from mlit_jax.studies import xllama_translating as translating
from mlit_jax.studies.study import Place, Step
from mlit_jax.studies.systems import BASE

FILE = "laws.json"
# The law comes to 100 from below and never reaches it; gamma stays above 0.
_HIGHEST, _LEAST_SIMILAR = 99.9, 1e-3


def step(config) -> Step:
  """Fits a law per language and shares every budget out by them."""
  goals, sizes = models.targets(config), tuple(config.sizes)
  limits = models.limits(config)
  needs = [models.vectors(BASE)]
  for lang in goals:
    for size in (*sizes, None):
      needs.append(pipeline.decoding(models.coit(lang, size), material.INTO))

  def work(place, show):
    del show
    records.write_json(place.directory / FILE, _laws(place, config))

  return Step(
      models.LAWS, work,
      {
          "languages": goals, "sizes": sizes, "num_pairs": limits,
          "budgets": tuple(config.budgets),
      },
      tuple(needs),
  )


def read(directory: pathlib.Path) -> dict[str, Any]:
  """What the step wrote."""
  return json.loads((directory / FILE).read_text(encoding="utf-8"))


def shares(directory: pathlib.Path, budget: int) -> dict[str, int]:
  """Language -> pairs, of a budget, by the laws."""
  return read(directory)["allocations"][str(budget)]["counts"]


def _laws(place: Place, config) -> dict[str, Any]:
  goals, limits = models.targets(config), models.limits(config)
  gammas = similarities(place, config)
  points = {
      lang: [
          {
              "x": size or limits[lang],
              **translating.translated(
                  place, models.coit(lang, size), material.INTO, (lang,),
                  pipeline.given(config),
              )[lang],
          }
          for size in (*config.sizes, None)
      ]
      for lang in goals
  }
  fits = {lang: fit(points[lang], gammas[lang]) for lang in goals}
  laws = {lang: found.law for lang, found in fits.items()}
  return {
      "gamma": {
          lang: round(gammas[lang], estimates.DECIMALS) for lang in goals
      },
      "points": points,
      "fits": {lang: described(found) for lang, found in fits.items()},
      "allocations": {
          str(budget): _allocation(laws, budget, limits)
          for budget in config.budgets
      },
  }


def similarities(place: Place, config) -> dict[str, float]:
  """Language -> mean cosine to English of parallel sentences in the base."""
  found = representing.read(
      place.of(models.vectors(BASE)) / representing.VECTORS
  )
  english = found[config.main_language][-1]
  return {
      lang: min(1.0, max(
          _LEAST_SIMILAR,
          representation.cosine_similarity(english, found[lang][-1]),
      ))
      for lang in models.targets(config)
  }


def fit(points: Sequence[Mapping[str, Any]], gamma: float) -> scaling_law.Fit:
  """The law through points of `x` and `score`."""
  return scaling_law.fit(
      [p["x"] for p in points],
      [min(p["score"], _HIGHEST) for p in points],
      gamma,
  )


def described(found: scaling_law.Fit) -> dict[str, Any]:
  """A fit as results.json holds it."""
  return {
      "alpha": _round(found.law.alpha),
      "beta": _round(found.law.beta),
      "gamma": _round(found.law.gamma),
      "alpha_se": _round(found.alpha_se),
      "beta_se": _round(found.beta_se),
      "alpha_ci": [_round(x) for x in found.alpha_ci],
      "beta_ci": [_round(x) for x in found.beta_ci],
      "r_squared": _round(found.r_squared),
      "residual": _round(found.residual),
      "at_bound": found.at_bound,
      "n": found.n,
  }


def _allocation(laws, budget: int, limits) -> dict[str, Any]:
  found = allocation.solve(laws, budget, limits)
  counts = allocation.rounded(laws, budget, limits)
  even = allocation.uniform(tuple(laws), budget, limits)
  return {
      "counts": counts,
      "kkt_residual": float(f"{found.kkt_residual:.1e}"),
      "predicted": {
          models.OPTIMISED: _round(allocation.mean_score(laws, counts)),
          models.UNIFORM: _round(allocation.mean_score(laws, even)),
      },
  }


def _round(value: float | None) -> float | None:
  return None if value is None else round(value, estimates.DECIMALS)
