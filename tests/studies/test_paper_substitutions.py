"""What the paper presets assume where a paper's text is silent, and say so."""

import pytest

from mlit_jax.commands import study as command
from mlit_jax.studies import loading


@pytest.mark.parametrize(
    ("study", "words"),
    [
        ("alpaca:paper", (
            "1,000", "linearly", "gate=identify:FILE", "judge", "512",
        )),
        ("polyglot:paper", ("2,048", "cosine", "partition", "GPT-4", "512")),
        ("pinch:paper", ("PaLM 2-S", "PaLM 2-L", "768", "seed", "512")),
        ("pinch:paper_slavic", ("PaLM 2-S", "batch 64")),
        ("xllama:paper", (
            "Figures 3 and 7", "MLQA", "512", "Continued", "COMET",
            "English: how many",
        )),
        ("xllama:pocket", (
            "Greek", "Turkish", "Vietnamese", "Russian", "Finnish",
        )),
    ],
)
def test_what_is_not_in_the_papers_is_declared(study, words):
  config = command.load(study, ())[2]
  said = " ".join(config.substitutions)
  for word in words:
    assert word in said, word
  tune, length = config.tune, config.tune.row_length
  if "pinch" in study:
    assert (tune.learning_rate, tune.batch_size, length) == (2e-5, 64, 768)
  if "polyglot" in study:
    assert (tune.epochs, tune.schedule, length) == (3, "cosine", 2048)
  if "alpaca" in study:
    assert (tune.schedule, tune.warmup_ratio) == ("linear", 0)


def test_every_paper_preset_declares_something():
  for name in loading.STUDIES:
    module = loading.configs(name)
    for preset in module.PRESETS:
      if preset.startswith("paper"):
        assert module.get_config(preset).substitutions, (name, preset)
