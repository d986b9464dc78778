"""X-LLaMA's study: what is tuned and asked, the paper's numbers, the laws."""

import json

import numpy as np
import pytest
import sacrebleu

from mlit_jax import records
from mlit_jax.analysis import allocation, scaling_law
from mlit_jax.commands import study as command
from mlit_jax.errors import UsageError
from mlit_jax.studies import (
    material,
    pipeline,
    representing,
    steps,
    xllama,
    xllama_laws,
    xllama_results,
    xllama_translating,
)
from mlit_jax.studies import xllama_systems as models
from mlit_jax.studies.report.views import xllama_laws as view
from mlit_jax.studies.study import Place

# The paper's Table 2, XQuAD: ar el hi tr vi zh.
GOALS = ("ar", "el", "hi", "tr", "vi", "zh")
ALPACA = (0.36, 0.64, 0.41, 0.51, 0.45, 0.59)
XLLAMA = (0.82, 0.75, 0.81, 0.64, 0.81, 0.80)
SMALL = (
    "--study.languages=en,es,zh", "--study.num_pairs=40",
    "--study.sizes=5,10,20", "--study.budgets=30", "--study.num_examples=20",
)


def _config(*overrides):
  return command.load("xllama:pocket", overrides)[2]


def test_the_papers_headline_comes_from_its_table():
  found = xllama_results.gain(
      *(
          {x: 100 * v for x, v in zip(GOALS, row, strict=True)}
          for row in (XLLAMA, ALPACA)
      )
  )
  assert found["mean"] == pytest.approx(27.83, abs=0.005)
  assert found["languages"]["ar"] == pytest.approx(46)


def test_models_have_the_papers_data():
  config = _config()
  systems = {s.name: s for s in models.systems(config)}
  kinds = [s.kind for s in systems.values()]
  assert {k: kinds.count(k) for k in dict.fromkeys(kinds)} == {
      "base": 1, "english": 1, "coit": 5, "ablation": 4, "scaling": 15,
      "monolingual": 4, "muit": 1, "allocation": 4,
  }

  def counts(name):
    return [
        (p["source"], p["counts"]) for p in systems[name].recipe["parts"]
    ]

  assert counts("coit-ar") == [
      ("pocket", {"en": 640, "ar": 640}), ("into", {"ar": 600}),
  ]
  assert counts("coit-ar-75")[1] == ("into", {"ar": 75})
  assert counts("muit") == [
      ("pocket", dict.fromkeys(config.languages, 640)),
      ("into", dict.fromkeys(("ar", "hi", "zh", "ru", "fi"), 600)),
  ]
  assert counts("into-zh") == [("into", {"zh": 600})]
  assert counts("reverse-zh")[1] == ("out-of", {"zh": 600})
  assert counts("muit-500-uniform")[1] == (
      "into", dict.fromkeys(("ar", "hi", "zh", "ru", "fi"), 100)
  )
  # What the laws decide is not known before.
  assert counts("muit-500-optimised") == counts("muit")[:1]
  assert systems["after-read-zh-300"].base == "read-zh-300"
  # Figure 6 has six rows.
  assert len(models.ablations(config)) == 6
  assert set(models.ablations(config)) < set(systems)


def test_every_model_is_asked_something_and_no_two_steps_are_mixed_up():
  config = _config()
  asked = xllama.asked(config)
  assert {s for s, _, _ in asked} == {
      s.name for s in models.systems(config)
  } - {"base"}
  names = [pipeline.decoding(system, name) for system, name, _ in asked]
  assert len(set(names)) == len(names)
  # A system's name never ends like a material's, or steps would be mixed up.
  for system in models.systems(config):
    assert not system.name.endswith(
        (material.INTO, material.OUT_OF, material.READING)
    )


def test_experiments_narrow_the_study():
  few = _config("--study.experiments=ablation")
  assert {s.kind for s in models.systems(few)} == {
      "base", "english", "coit", "ablation",
  }
  steps_ = {s.name for s in xllama.graph(few, "pocket", None)}
  assert "laws" not in steps_ and "model-muit" not in steps_
  assert "judge-coit-ar-against-alpaca-en" in steps_
  # A budget cannot be shared out without the laws.
  shares = _config("--study.experiments=allocation")
  kinds = {s.kind for s in models.systems(shares)}
  assert {"scaling", "allocation"} < kinds and "muit" not in kinds


@pytest.fixture(scope="module")
def translated(tmp_path_factory):
  """A place in which models translate better the more pairs they have."""
  root = tmp_path_factory.mktemp("steps")
  config = _config(*SMALL)
  # How many of the 60 held-out sentences come out right.
  right = {"es": {5: 12, 10: 24, 20: 33, 40: 40},
           "zh": {5: 3, 10: 6, 20: 9, 40: 12}}
  for lang, by_size in right.items():
    prompts = material.prompts("into", (lang,), {})
    for size, number in by_size.items():
      name = models.coit(lang, None if size == 40 else size)
      directory = root / pipeline.decoding(name, "into")
      directory.mkdir()
      records.write_records(directory / steps.RESPONSES, [
          records.Response(
              row.id, lang, name, row.response if i < number else "",
              "stop", 1,
          )
          for i, row in enumerate(prompts)
      ])
  (root / "vectors-base").mkdir()
  english = np.eye(4, dtype=np.float32)[None]
  representing.write(root / "vectors-base" / representing.VECTORS, {
      "en": english, "es": english + 0.1, "zh": -english,
  })
  place = Place(root / "laws", root)
  place.directory.mkdir()
  xllama_laws.step(config).work(place, print)
  return config, root, right


def test_translations_are_scored_as_a_whole_too(translated):
  """As sacreBLEU itself scores them; with an interval, and nothing invented."""
  _, root, right = translated
  place = Place(root / "laws", root)
  model = models.coit("zh", 20)
  found = xllama_translating.whole(place, model, "into", ("zh",), {})
  wanted = [p.response for p in material.prompts("into", ("zh",), {})]
  said = [x if i < right["zh"][20] else "" for i, x in enumerate(wanted)]
  row = found["chrf++"]["zh"]
  assert row["value"] == pytest.approx(
      sacrebleu.corpus_chrf(said, [wanted], word_order=2).score, abs=1e-3
  )
  assert row["ci"][0] < row["value"] < row["ci"][1] and row["n"] == 60


def test_laws_are_fitted_to_what_was_translated(translated):
  _, root, right = translated
  found = xllama_laws.read(root / "laws")
  for lang, by_size in right.items():
    assert [p["x"] for p in found["points"][lang]] == list(by_size)
    scores = [100 * n / 60 for n in by_size.values()]
    assert [p["score"] for p in found["points"][lang]] == pytest.approx(scores)
    fit = scaling_law.fit(list(by_size), scores, found["gamma"][lang])
    assert found["fits"][lang]["alpha"] == pytest.approx(fit.law.alpha)
    assert found["fits"][lang]["beta_se"] == pytest.approx(
        fit.beta_se, abs=1e-6
    )
  # Opposite vectors would give a gamma that the law does not allow.
  assert found["gamma"]["zh"] == 0.001
  assert 0.9 < found["gamma"]["es"] < 1


def test_shares_are_those_of_the_laws_and_reach_the_recipe(translated):
  config, root, _ = translated
  found = xllama_laws.read(root / "laws")
  laws = {
      lang: scaling_law.Law(row["alpha"], row["beta"], row["gamma"])
      for lang, row in found["fits"].items()
  }
  limits = {"es": 40, "zh": 40}
  counts = xllama_laws.shares(root / "laws", 30)
  assert counts == allocation.rounded(laws, 30, limits)
  assert sum(counts.values()) == 30 and counts["es"] > counts["zh"]
  row = found["allocations"]["30"]
  assert row["predicted"]["optimised"] > row["predicted"]["uniform"]
  assert row["kkt_residual"] < 1e-9
  (root / "vocabulary").mkdir()
  steps.train_vocabulary(root / "vocabulary", ("en", "es", "zh"), 1500)
  data = next(
      s for s in xllama.graph(config, "pocket", root)
      if s.name == "data-muit-30-optimised"
  )
  assert "laws" in data.needs
  place = Place(root / data.name, root)
  place.directory.mkdir()
  data.work(place, print)
  assert xllama_results._pairs(place, "muit-30-optimised") == counts
  rows = json.loads((root / data.name / "manifest.json").read_text())["rows"]
  assert len(rows) == 3 * 20 + 30


def test_what_the_laws_shares_gain_is_paired_by_sentence(translated):
  config, root, _ = translated
  right = {"optimised": {"es": 30, "zh": 12}, "uniform": {"es": 24, "zh": 15}}
  for kind, numbers in right.items():
    name = models.allocated(30, kind)
    directory = root / pipeline.decoding(name, "into")
    directory.mkdir()
    records.write_records(directory / steps.RESPONSES, [
        records.Response(
            row.id, lang, name, row.response if i < number else "", "stop", 1,
        )
        for lang, number in numbers.items()
        for i, row in enumerate(material.prompts("into", (lang,), {}))
    ])
  found = xllama_results._shared_out(Place(root / "results", root), 30, config)
  # 6 more and 3 fewer of 120 sentences, each 100 points or none.
  assert found["score"] == pytest.approx(100 * 3 / 120)
  assert found["n"] == 120 and found["ci"][0] < 0 < found["ci"][1]
  # Nine of them differ, six in favour: a sign test gives 0.51.
  assert found["p"] == pytest.approx(0.51, abs=0.03)


def test_answers_that_mean_the_same_are_known_in_any_language():
  meanings = xllama_results._meanings(("en", "zh"))
  rows = material.prompts("pocket", ("en", "zh"), {})
  texts = {(row.id, row.lang): row.response for row in rows}
  alike, unlike = [], []
  ids = sorted({id_ for id_, _ in texts})
  for k, id_ in enumerate(ids):
    english = meanings["en"][texts[id_, "en"]]
    alike.append(bool(english & meanings["zh"][texts[id_, "zh"]]))
    other = ids[(k + 7) % len(ids)]
    unlike.append(bool(english & meanings["zh"][texts[other, "zh"]]))
  assert all(alike)
  assert sum(unlike) < 0.2 * len(unlike)


def test_the_law_is_drawn_where_only_the_other_data_was_measured():
  fit = {"alpha": 90.0, "beta": -0.1, "gamma": 0.5}
  row = {"score": 9.0, "ci": [8, 10], "n": 60}
  one, other = ([{"x": x, **row}] for x in (2, 5))
  chart = view._chart(
      "c", "c", {"pairs": (one, fit), "text": (other, fit)}, "x"
  )
  assert chart.categories == ["2", "5"]
  assert [p.y is None for p in chart.series[0].points] == [False, True]
  law = scaling_law.Law(**fit)
  assert [p.y for p in chart.series[1].points] == [law.score(2), law.score(5)]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("--study.main_language=es", "give en"),
        ("--study.languages=en", "at least one other"),
        ("--study.ablated_language=he", "ablated_language='he' is not one of"),
        ("--study.experiments=scalling", "did you mean 'scaling'?"),
        ("--study.num_pairs=9999", "between 1 and 616"),
        ("--study.sizes=300,75", "must grow"),
        ("--study.sizes=75,600", "below num_pairs"),
        ("--study.document_sizes=300", "at least two"),
        ("--study.budgets=3", "between 5 .* and 3000"),
        ("--study.budgets=3001", "between 5 .* and 3000"),
    ],
)
def test_wrong_configs_are_refused_in_a_line(override, words):
  with pytest.raises(UsageError, match=words) as error:
    _config(override)
  assert "\n" not in str(error.value)
