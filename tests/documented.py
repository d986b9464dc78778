"""The commands that README.md and docs/ show, and who tries which.

A command in a block stands in exactly one class below, as it is shown (its
lines joined; * for what is long); one in none of them fails
test_documented_commands.py.
"""

import fnmatch
import pathlib
import re

ROOT = pathlib.Path(__file__).parent.parent

# Run to the letter by the test of their page, or what they stand for.
FOLLOWED = {
    "tests/studies/test_new_user.py": (
        "head -n 150 mine.jsonl > train.jsonl",
        "tail -n 50 mine.jsonl > test.jsonl",
        "mlit study pinch:own --plan *", "mlit study pinch:own --workdir *",
    ),
    "tests/studies/test_adding_a_study.py": (
        "mlit study halves.py:tiny *", "mlit report runs/halves *",
    ),
}
# Run by test_documented_commands.py, in this order, in a folder that has the
# files they name.
RUN = (
    "mlit data sources",
    "mlit data build percent:1 --total 1280 --workdir runs/data/p1",
    "mlit data show runs/data/p1",
    "mlit data diff runs/data/p1 runs/data/p10",
    "mlit data build percent:10 --total 200 --workdir runs/data/tiny",
    "mlit train --config tiny --config.data.directories=runs/data/tiny"
    " --workdir runs/tiny",
    "mlit train --config tiny:lora --config.base=runs/tiny/model"
    " --config.data.directories=runs/data/tiny --workdir runs/tiny_lora",
    "mlit data build recipe.json --source own=rows:mine.jsonl --tokenizer"
    " MODEL --workdir runs/data/own",
    "mlit data check runs/data/own eval.jsonl --fatal",
    "mlit translate IN.jsonl --to he,ru --output OUT.jsonl --dry-run"
    " --price 20",
    "mlit decode --model DIR --input prompts.jsonl --output responses.jsonl",
    "mlit decode --model BASE --adapter he=DIR1 --adapter sw=DIR2 --input"
    " prompts.jsonl --output adapted.jsonl",
    "mlit score --model DIR --input pairs.jsonl --output scores.jsonl",
    "mlit judge side_by_side --judge reference --prompts P.jsonl --a A.jsonl"
    " --b B.jsonl --output J.jsonl",
    "mlit compare one.jsonl two.jsonl three.jsonl",
    "mlit agreement ratings.csv",
    "mlit annotate make rating --prompts P.jsonl --a A.jsonl B.jsonl --output"
    " sheets",
    "mlit report runs/pocket",
    "mlit report runs/seed1 --against runs/seed0",
    "mlit convert runs/pocket/steps/model-base/model exported --dtype bfloat16",
    "mlit convert BASE merged --adapter peft_directory",
    "mlit study pinch:pocket --workdir runs/pocket --status",
    "mlit study pinch:pocket --plan --accelerator v5litepod-16 --price 1.2",
    "mlit study pinch:paper --plan --accelerator v5p-64 --price 4",
    "mlit study alpaca:paper --study.model=bloom_560m --plan",
    "mlit study xllama:paper --study.experiments=ablation --plan",
    "mlit study pinch:paper_slavic --plan",
    "mlit study alpaca:paper_full --plan",
    "mlit study alpaca:paper_all --study.experiments=sizes --plan",
    "launch/assign pinch:pocket --slices 4",
)
# `launch/tpu` and `launch/gke` with --dry_run: they need a cloud.
DRY_RUN = (
    "launch/tpu resume my-run *", "launch/tpu logs my-run --follow",
    "launch/tpu delete my-run", "launch/gke run my-job *",
    "launch/gke logs my-job --follow", "launch/gke delete my-job --cluster C",
)
# Understood by our own parser, config and all: they take minutes to days, a
# provider's key, or files that nobody has; what they do has tests of its own.
PARSED = (
    "mlit study pinch:pocket --workdir *",
    "mlit study lucky52:pocket --workdir runs/lucky52",
    "mlit study alpaca:pocket --workdir runs/alpaca",
    "mlit study polyglot:pocket --workdir runs/polyglot",
    "mlit study xllama:pocket --workdir runs/xllama",
    "mlit study alpaca:paper --workdir runs/alpaca *",
    "mlit study my_study.py --workdir runs/mine",
    "mlit data build recipe.json --source alpaca=alpaca:alpaca.json *",
    "mlit translate IN.jsonl --to he,ru --output OUT.jsonl --project P"
    " --price 20",
    "mlit train --config bloom_7b1:lora *", "mlit train --gin_file *",
    "mlit train --study pinch:pocket --run mono-es --workdir runs/pocket",
    "mlit plan --config *",
    "mlit decode --model BASE --adapter he=DIR1 --adapter sw=DIR2 --input …"
    " --output …",
    "mlit eval xcopa,xquad --model DIR --data *",
    "mlit judge PROTOCOL --judge SPEC *",
    "mlit annotate make rating * --number 50 --output sheets",
    "mlit annotate read sheets/key.jsonl *",
    "mlit report runs/alpaca",
    "mlit convert checkpoint_1000000 mt5 --like mt5-small-config",
)
# A shell understands them; a test cannot have what they need: a cloud, a
# network, a screen, a notebook, another pod. `make` is what CI calls.
SHELL = (
    "make quickstart", "make test", "python3 -m venv .venv",
    ".venv/bin/pip install -e . -c constraints/python3.11.txt",
    "source .venv/bin/activate", "pip install jupyterlab",
    "jupyter lab colabs/quickstart.ipynb",
    "python -m mlit_jax.evals.harness run --model mlit *",
    "python -m pytest tests/models/test_family_parity.py -k mistral",
    "gcloud storage *", "git archive HEAD *", "docker push gcr.io/P/mlit",
    "launch/local_pod.sh 2 -- mlit train *",
    "launch/assign pinch:pocket --slices 4 --costs hours.json *",
    "for i in 0 1 2 3; do", "launch/tpu resume study-$i *", "done",
)


def blocks():
  """(file, text) of every block that holds commands."""
  for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
    text = path.read_text(encoding="utf-8")
    fences = re.findall(r"^( *)```(\w*)\n(.*?)^\1```$", text, re.M | re.S)
    for _, language, block in fences:
      if language in ("", "sh", "bash", "console"):
        yield path.name, block


def commands():
  """(file, command) of every line, those that go on being one."""
  for name, block in blocks():
    for line in re.sub(r" *\\\n *", " ", block).splitlines():
      if line.strip():
        yield name, line.strip()


def classes(command):
  """The classes that a command is in."""
  named = {
      "run": [x for x in RUN if x == command],
      "dry run": DRY_RUN, "parsed": PARSED, "shell": SHELL,
      **FOLLOWED,
  }
  found = [
      kind for kind, patterns in named.items()
      if any(fnmatch.fnmatchcase(command, _pattern(x)) for x in patterns)
  ]
  # What is run need not be listed a second time where a pattern holds it.
  return ["run"] if "run" in found else found


def _pattern(text):
  """* alone means something; brackets are a synopsis's."""
  return text.replace("[", "[[]")
