"""docs/training.md says what there is."""

import pathlib
import re
import shlex

from mlit_jax import main
from mlit_jax.commands import train_config
from mlit_jax.training import config_fields
from mlit_jax.training.config import Run

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "training.md"


def test_its_commands_are_understood():
  text = PAGE.read_text("utf-8")
  blocks = re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
  lines = [line for block in blocks for line in block.splitlines()]
  trained = 0
  for line in lines:
    words = shlex.split(line)
    args, args.overrides = main.parser().parse_known_args(words[1:])
    assert words[0] == "mlit" and args.run
    if words[1] == "plan" or (words[1] == "train" and not args.study):
      assert train_config.load(args).data.directories
      trained += 1
  assert trained == 5


def test_the_fields_that_it_names_are_fields():
  known = set(config_fields.keys_of(Run))
  sections = {key.partition(".")[0] for key in known if "." in key}
  named = re.findall(r"`(\w+\.\w+)(?:=\w+)?`", PAGE.read_text("utf-8"))
  assert len(named) > 8
  files = {"metrics.jsonl", "run.json", "versions.json", "result.json"}
  assert {name for name in named if name.partition(".")[0] in sections
          } <= known
  assert set(named) - known <= files
