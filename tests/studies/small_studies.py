"""The smallest run of every study, and results that such runs have left.

small_results/STUDY.json is the results.json of `command`, with which tests of
a page need no run. Where a study's results change their form, put the new ones
there (python tests/studies/small_studies.py STUDY makes them).
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

from mlit_jax import records

TINY = (
    "--study.vocab_size=1500",
    "--study.shape.embed_dim=32",
    "--study.shape.num_heads=2",
    "--study.shape.num_kv_heads=2",
    "--study.shape.head_dim=16",
    "--study.shape.mlp_dim=32",
    "--study.pretrain.documents=200",
    "--study.pretrain.epochs=1",
    "--study.tune.epochs=1",
    "--study.max_new_tokens=8",
)
SMALL = {
    "pinch": (
        "--study.languages=en,es,he,ru", "--study.percents=10",
        "--study.num_examples=60",
    ),
    "lucky52": (
        "--study.languages=en,zh,es,he", "--study.tuned_languages=en,zh,es",
        "--study.base_languages=en,zh,he", "--study.num_examples=20",
    ),
    "alpaca": (
        "--study.languages=en,zh", "--study.test_languages=en,zh",
        "--study.unseen_languages=he", "--study.base_languages=en,zh,he",
        "--study.num_examples=20",
    ),
    "polyglot": (
        "--study.languages=en,it,es", "--study.num_examples=20",
        "--study.few_examples=6",
    ),
    "xllama": (
        "--study.languages=en,es,zh", "--study.num_examples=20",
        "--study.num_pairs=16", "--study.sizes=4,8",
        "--study.document_sizes=4,8", "--study.budgets=12",
    ),
}
# How the ids of a study's questions begin.
_MATERIALS = {
    "lucky52": ("endings/", "answers/"),
    "xllama": ("", "reading/", "into/", "out-of/"),
}
_FOLDER = pathlib.Path(__file__).parent / "small_results"


def command(name, workdir, *options):
  """What a user types, at the smallest size."""
  return [
      sys.executable, "-m", "mlit_jax.main", "study", f"{name}:pocket",
      "--workdir", str(workdir), *TINY, *SMALL[name], *options,
  ]


def results(name):
  """The results.json that such a run has left."""
  return json.loads((_FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def write(directory, name):
  """A study directory with those results, and with made-up answers."""
  directory.mkdir(parents=True)
  found = results(name)
  records.write_json(directory / "results.json", found)
  tested = found.get("test_languages", {}).values()
  languages = [*found["languages"], *(x for codes in tested for x in codes)]
  rows = [
      {
          "id": f"{prefix}q{i}", "lang": lang, "prompt": "?", "reference": "!",
          "answers": {
              system: {"text": f"{system} {lang} {i}", "found": lang,
                       "exact": i == 0}
              for system in found["systems"]
          },
      }
      for prefix in _MATERIALS.get(name, ("",))
      for lang in dict.fromkeys(languages)
      for i in range(3)
  ]
  lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
  records.write_text(directory / "answers.jsonl", lines)
  records.write_records(directory / "judgments.jsonl", [])
  return directory


def files(page):
  """(figures, tables) that a page's text links, by name."""
  return tuple(
      set(re.findall(rf'href="{kind}/([\w.-]+)\.{ending}"', page))
      for kind, ending in (("figures", "svg"), ("tables", "csv"))
  )


def main(*names):
  for name in names or SMALL:
    with tempfile.TemporaryDirectory() as workdir:
      subprocess.run(command(name, workdir), check=True)
      found = json.loads((pathlib.Path(workdir) / "results.json").read_text())
    text = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    records.write_text(_FOLDER / f"{name}.json", [text + "\n"])


if __name__ == "__main__":
  main(*sys.argv[1:])
