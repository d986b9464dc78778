"""What each study tunes: counts and sets worked out by hand from the papers."""

import importlib
import pathlib

import pytest

from mlit_jax import languages
from mlit_jax.commands import study as command
from mlit_jax.data import recipe_spec
from mlit_jax.errors import UsageError
from mlit_jax.studies import (
    alpaca,
    loading,
    lucky52_results,
    material,
    pinch,
    polyglot,
)
from mlit_jax.studies import study as study_lib


def _load(spec, *overrides):
  name, _, config = command.load(spec, overrides)
  return importlib.import_module(f"mlit_jax.studies.{name}"), config


def _counts(system, config):
  """Language -> examples, drawn as the study draws them."""
  pools = {}
  for source, codes in recipe_spec.languages(system.recipe).items():
    pool = pools.setdefault(source, {code: [] for code in codes})
    for id_, lang in material.instructions(source, codes, {}):
      pool[lang].append(id_)
  return recipe_spec.make(system.recipe, pools).train.counts


@pytest.mark.parametrize("name", loading.STUDIES)
def test_every_pocket_preset_is_a_graph(name):
  module, config = _load(f"{name}:pocket")
  steps = module.graph(config, "pocket", pathlib.Path("unused"))
  assert len(study_lib.hashes(steps)) == len(steps)
  assert next(step.name for step in steps if step.alone) == "model-base"


def test_pinch_has_all_seven_experiments():
  module, config = _load("pinch:pocket")
  systems = {s.name: s for s in module.systems(config)}
  kinds = [s.kind for s in systems.values()]
  # 12 languages; P = 1, 10, 50, 100; 10 and 100 % over six; two orders at 2 and
  # 6 languages; six pairs.
  assert {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)} == {
      "base": 1, "monolingual": 12, "mixture": 4, "control": 12, "half": 2,
      "number": 4, "bilingual": 6,
  }
  assert set(config.half_languages) == set(languages.SETS["pinch_seen_six"])
  pairs = pinch.pairs(config)
  assert sorted(x for pair in pairs for x in pair) == sorted(config.languages)
  # 10 % of 1,280 over six languages, English with its share of it.
  assert _counts(systems["half-p10"], config) == {
      "en": 1152 + 21, "ar": 22, "fi": 22, "it": 21, "ru": 21, "sw": 21,
  }
  for pair in pairs:
    counts = _counts(systems[f"pair-{'-'.join(pair)}"], config)
    assert counts == dict.fromkeys(pair, 640)
  for order in pinch.orders(config):
    last = _counts(systems[pinch.stepwise(config, order, 6)], config)
    assert sorted(last.values()) == [213, 213, 213, 213, 214, 214]
    assert set(last) == set(order)
    # Nested: two languages' examples are kept by six.
    assert pinch.stepwise(config, order, 1) == f"mono-{order[0]}"


def test_pinch_says_what_its_languages_do_not_allow():
  module, config = _load("pinch:pocket", "--study.languages=en,es,cs")
  left_out = module.left_out(config)
  assert set(left_out) == {"half", "number", "bilingual"}
  assert "3 languages do not make pairs" in left_out["bilingual"]
  kinds = {s.kind for s in module.systems(config)}
  assert kinds == {"base", "monolingual", "mixture", "control"}


def test_lucky52_adds_languages_in_the_papers_order():
  module, config = _load("lucky52:pocket")
  order = list(config.tuned_languages)
  paper = [x for x in languages.SETS["lucky52"] if x in order]
  assert order == paper
  systems = module.systems(config)
  assert [s.name for s in systems] == ["base"] + [
      f"first-{k:02d}" for k in range(1, 11)
  ]
  for k, system in enumerate(systems[1:], start=1):
    assert _counts(system, config) == dict.fromkeys(order[:k], 160)
  assert lucky52_results.exposure(config) == {
      "base and tuning": [
          "en", "zh", "ar", "cs", "es", "fi", "hi", "it", "ru",
      ],
      "base only": ["he"], "tuning only": ["et"], "neither": ["sw"],
  }


def test_alpaca_spends_the_four_budgets():
  module, config = _load("alpaca:pocket")
  assert set(config.languages) < set(languages.SETS["alpaca"])
  systems = {s.name: s for s in module.systems(config)}
  number = config.num_examples
  assert _counts(systems["all"], config) == dict.fromkeys(
      config.languages, number
  )
  partition = _counts(systems["partition"], config)
  assert sorted(partition.values()) == [106, 106, 107, 107, 107, 107]
  sampled = _counts(systems["sampled"], config)
  assert sum(sampled.values()) == number
  assert len(set(sampled.values())) > 1  # what chance gave
  assert systems["small-all"].recipe == systems["all"].recipe
  assert systems["small-all"].base == "small"
  assert {s.base for s in systems.values()} == {"base", "small"}
  # Each base untuned, and six languages and three mixtures in two ways.
  assert len(systems) == 2 * (1 + 2 * (6 + 3))
  assert systems["small-lora-all"].recipe == systems["all"].recipe
  assert systems["small-lora-all"].tuning == "other_tune"
  assert "lora" in config.other_tune and "lora" not in config.tune


@pytest.mark.parametrize("asked, bases, methods, unseen", [
    ("", {"base"}, {"full"}, ()),
    ("sizes", {"base", "small"}, {"full"}, ()),
    ("methods,unseen", {"base"}, {"full", "lora"}, ("he", "sw")),
])
def test_experiments_narrow_alpaca(asked, bases, methods, unseen):
  module, config = _load("alpaca:pocket", f"--study.experiments={asked}")
  systems = module.systems(config)
  assert {s.base for s in systems} == bases
  assert {s.about["method"] for s in systems if s.recipe} == methods
  steps = {x.name: x for x in module.graph(config, "pocket", pathlib.Path())}
  assert {"model-base", "model-small"} & set(steps) == {
      f"model-{base}" for base in bases
  }
  assert steps["decode-all"].params["languages"] == (
      *config.test_languages, *unseen
  )
  assert set(module.left_out(config)) == set(module.EXPERIMENTS) - {
      *filter(None, asked.split(","))
  }


def test_what_alpaca_lacks_for_an_experiment_is_said():
  module, config = _load("alpaca:paper", "--study.unseen_languages=")
  left_out = module.left_out(config)
  assert set(left_out) == {"unseen", "sizes", "methods"}
  assert "paper_all" in left_out["methods"]


def test_polyglot_mixes_all_and_all_but_the_main_language():
  module, config = _load("polyglot:pocket")
  systems = {s.name: s for s in module.systems(config)}
  every = tuple(config.languages)
  others = tuple(x for x in every if x != "en")
  for size, number in (("few", 128), ("curated", 128), ("many", 960)):
    for which, codes in (("all", every), ("without", others)):
      name = f"{size}-{which}"
      assert _counts(systems[f"{name}-parallel"], config) == dict.fromkeys(
          codes, number
      )
      for design in ("sampled", "partition"):
        counts = _counts(systems[f"{name}-{design}"], config)
        assert sum(counts.values()) == number
        assert set(counts) == set(codes)
    assert _counts(systems[f"{size}-mono-ru"], config) == {"ru": number}
  assert len(module.contests(config)) == 15


def test_the_curated_set_has_every_kind_and_no_fact_twice():
  codes = ("en", "sw")
  rows = material.instructions("curated", codes, {})
  assert set(rows) < set(material.instructions("pocket", codes, {}))
  # Six of each of 25 kinds of instruction, in both languages.
  ids = [id_ for id_, lang in rows if lang == "sw"]
  kinds = [id_.split("/")[0] for id_ in ids]
  assert {kind: kinds.count(kind) for kind in kinds} == dict.fromkeys(kinds, 6)
  assert len(ids) == 25 * 6 and len(rows) == 2 * len(ids)
  facts = [id_.rpartition("/")[0] for id_ in ids]
  assert len(set(facts)) == len(facts)


@pytest.mark.parametrize("preset", ["pocket", "paper"])
def test_experiments_narrow_polyglot(preset):
  def made(asked):
    module, config = _load(f"polyglot:{preset}", f"--study.experiments={asked}")
    names = {s.name.rpartition("-mono-")[0] or s.name
             for s in module.systems(config)}
    return names, len(module.contests(config)), module.left_out(config)

  names, contests, without = made("")
  assert names == {"base", "many", "many-all-parallel"} and contests == 0
  assert set(without) == {"few", "curated", "without", "sampled", "pairwise"}
  names, contests, without = made("pairwise,curated")
  assert names == {
      "base", "many", "many-all-parallel", "curated", "curated-all-parallel"
  }
  assert contests == 2 * 5
  assert set(without) == {"few", "without", "sampled"}
  names, _, _ = made("without,sampled")
  assert names == {"base", "many"} | {
      f"many-{which}-{design}" for which in ("all", "without")
      for design in ("parallel", "sampled", "partition")
  }


def test_what_polyglot_lacks_for_an_experiment_is_said():
  module, config = _load(
      "polyglot", "--study.curated=", "--study.designs=sampled"
  )
  left_out = module.left_out(config)
  assert set(left_out) == {"curated", "pairwise"}
  assert "no model is tuned in parallel" in left_out["pairwise"]


def test_translation_and_reading_material_is_parallel_and_held_out():
  codes = ("en", "zh", "sw")
  learnt = material.instructions("into", codes, {})
  asked = material.prompts("into", codes, {})
  assert {lang for _, lang in learnt} == {"zh", "sw"}
  by_lang = {
      lang: [i for i, at in learnt if at == lang] for lang in ("zh", "sw")
  }
  assert by_lang["zh"] == by_lang["sw"]
  assert len(asked) == 2 * 60
  assert not {p.id for p in asked} & {i for i, _ in learnt}
  back = {(p.id, p.lang): p for p in material.prompts("out-of", codes, {})}
  for prompt in asked:
    other = back[prompt.id.replace("into/", "out-of/", 1), prompt.lang]
    assert prompt.response in other.prompt
    assert other.response in prompt.prompt
  for row in material.prompts("reading", codes, {}):
    assert row.prompt.count(row.response) == 1


def test_what_is_not_asked_for_has_no_limits():
  """The curated set has 150 examples; without it there may be more."""
  config = command.load(
      "polyglot", ["--study.few_examples=151", "--study.experiments=few"]
  )[2]
  assert "curated" not in polyglot.sizes(config)


def test_bases_whose_names_end_alike_have_models_of_their_own():
  names = [
      alpaca.Variant(base, way, section, "").system("all")
      for base in ("base", "my", "my-base")
      for way, section in (("full", alpaca.TUNE), ("lora", alpaca.OTHER))
  ]
  assert names == [
      "all", "lora-all", "my-all", "my-lora-all", "my-base-all",
      "my-base-lora-all",
  ]


def test_wrong_answers_are_false_and_of_the_same_kind():
  rows = {row.id: row for row in material.choices("answers", ("en",), {})}
  capital = rows["capital/peru-lima/2"] if "capital/peru-lima/2" in rows else (
      next(row for row in rows.values() if row.id.startswith("continent/"))
  )
  right, wrong = (
      capital.endings[i] for i in (capital.right, 1 - capital.right)
  )
  assert right != wrong
  assert right.split()[0] == wrong.split()[0]
  number = sum(row.right for row in rows.values())
  assert 0.3 < number / len(rows) < 0.7  # the right one stands on either side


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("lucky52", "--study.tuned_languages=en,xx"), "xx is not in"),
        (("lucky52", "--study.tests=ending"), "did you mean 'endings'?"),
        (("alpaca", "--study.budgets=some"), "budgets: no 'some'"),
        (("alpaca", "--study.experiments=method"), "did you mean 'methods'?"),
        (("alpaca:paper", "--study.other_bases.lora=expected"),
         "other_bases: no 'lora'"),
        (("alpaca:paper", "--study.other_bases.bloom_3=expected"),
         "did you mean 'bloom_3b'?"),
        (("alpaca", "--study.other_tune.validate_every=5"), "give both"),
        (("alpaca", "--study.test_languages=en,sw"), "sw is not in languages"),
        (("alpaca", "--study.test_languages="), "test_languages is empty"),
        (("alpaca", "--study.test_languages=en,en"), "en stands there twice"),
        (("lucky52", "--study.tests="), "tests is empty"),
        (("lucky52", "--study.tuned_languages=en,en"), "stands there twice"),
        (("polyglot", "--study.designs="), "designs is empty"),
        (("alpaca", "--study.unseen_languages=en"), "en is in languages"),
        (("polyglot", "--study.designs=parallell"), "did you mean 'parallel'"),
        (("polyglot", "--study.few_examples=9999"), "few_examples=9999"),
        (("pinch", "--study.experiments=halve"), "did you mean 'half'?"),
        (("lucky52", "--study.experiments=numbers"), "did you mean 'number'?"),
        (("lucky52:paper", "--study.experiments=number,x"), "known: number,"),
        (("polyglot", "--study.experiments=pair"), "did you mean 'pairwise'?"),
        (("polyglot", "--study.few_examples=151"), "examples are 150"),
        (("polyglot", "--study.curated=mine"), "no source 'mine'"),
        (("pinch", "--study.train=mine"), "no source 'mine'"),
        (("pinch", "--study.base=/nowhere"), "not a model directory"),
    ],
)
def test_wrong_configs_are_refused_in_a_line(arguments, words):
  name, *overrides = arguments
  with pytest.raises(UsageError) as error:
    command.load(name, overrides)
  assert words in str(error.value)
  assert "\n" not in str(error.value)
