"""Every command of README.md and docs/ is run, or tried as far as can be."""

import fnmatch
import json
import pathlib
import re
import shlex
import subprocess
import sys

import documented
import pytest
import small_studies

from mlit_jax import main
from mlit_jax.commands import study
from mlit_jax.studies.report import page

ROOT = documented.ROOT


def test_every_command_is_in_one_class():
  shown = dict.fromkeys(command for _, command in documented.commands())
  assert len(shown) > 80
  for command in shown:
    # None: say in documented.py who tries it. Two: say it once.
    assert len(documented.classes(command)) == 1, command
  listed = (
      *documented.RUN, *documented.DRY_RUN, *documented.PARSED,
      *documented.SHELL, *(x for v in documented.FOLLOWED.values() for x in v),
  )
  for pattern in listed:
    assert any(
        fnmatch.fnmatchcase(command, pattern.replace("[", "[[]"))
        for command in shown
    ), f"no longer shown: {pattern}"
  for path in documented.FOLLOWED:
    assert "followed to the letter" in (ROOT / path).read_text("utf-8")


def _ours(command):
  """The words behind `mlit`, also of one that a launcher starts; else None."""
  _, found, rest = f" -- {command}".rpartition(" -- mlit ")
  if not found:
    return None
  # In a synopsis what may be left out stands in brackets.
  rest = rest.replace("[", "").replace("]", "")
  rest = rest.replace("PROTOCOL", "side_by_side")
  words = shlex.split(rest, comments=True)
  return words[:1] if words[1:] == ["…"] else words


def test_our_parser_understands_every_command_of_ours():
  number = 0
  for name, command in documented.commands():
    if (words := _ours(command)) is None:
      continue
    number += 1
    try:
      args, rest = main.parser().parse_known_args(words)
    except SystemExit:
      pytest.fail(f"{name}: {command}")
    assert all(
        re.match(r"--(study|config)\.[\w.]+=", x) for x in rest
    ), (name, command)
    if args.command == "study" and ".py" not in args.name:
      # One's own files are not here.
      own = any(".sources." in x or ".base=" in x for x in rest)
      study.load(args.name, () if own else rest)
  assert number > 70


def _mentions():
  """(file, words) of every `mlit …` in running text."""
  for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
    text = re.sub(
        r"^ *```.*?^ *```$", "", path.read_text(encoding="utf-8"),
        flags=re.M | re.S,
    )
    for span in re.findall(r"`mlit ([^`]+)`", text):
      yield path.name, shlex.split(span)


def test_commands_in_running_text_are_there(capsys):
  """One named in passing need not be whole; what it names must be there."""
  found = [*_mentions()]
  assert len(found) > 40
  for name, words in found:
    names = [w for w in words if re.fullmatch(r"[a-z_]+", w)][:1]
    flags = [w.partition("=")[0] for w in words if w.startswith("--")]
    flags = [w for w in flags if not re.match(r"--(study|config)\.", w)]
    with pytest.raises(SystemExit):
      actions = [w for w in words[1:2] if re.fullmatch(r"[a-z]+", w)]
      main.parser().parse_args([*names, *_action(names, actions), "--help"])
    told = capsys.readouterr().out
    for flag in flags:
      assert flag in told, (name, words)


def _action(names, actions):
  """The second word where the first has subcommands."""
  return actions if names in (["data"], ["annotate"]) else []


def test_a_shell_understands_every_block():
  for name, block in documented.blocks():
    done = subprocess.run(
        ["bash", "-n"], input=block, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), (name, block)
  for _, command in documented.commands():
    for word in shlex.split(command, comments=True):
      # Scripts and tests that it names are there.
      if re.match(r"(launch|tests|colabs|constraints)/\S+$", word):
        assert (ROOT / word).exists(), command


@pytest.mark.parametrize("pattern", documented.DRY_RUN)
def test_what_needs_a_cloud_says_what_it_would_do(pattern):
  (command,) = {
      c for _, c in documented.commands() if fnmatch.fnmatchcase(c, pattern)
  }
  command = command.replace("--bucket B", "--bucket my-bucket")
  head, _, tail = command.partition(" -- ")
  words = [w for w in shlex.split(head) if w != "--dry_run"]
  done = subprocess.run(
      ["bash", *words, "--dry_run", *(["--", *shlex.split(tail)] if tail
                                      else [])],
      cwd=ROOT, capture_output=True, text=True, check=False,
  )
  assert done.returncode == 0, done.stderr
  assert re.search("^(gcloud|xpk|kubectl) ", done.stdout, re.M), done.stdout


def _lines(path, rows):
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _rows(number, start=0):
  """Parallel rows in three languages."""
  words = {"en": "one plus", "es": "uno más", "fi": "yksi plus"}
  return [
      {"id": f"sum/{start + i}", "lang": lang, "response": f"{i}",
       "prompt": f"{text} {start + i}?"}
      for i in range(number) for lang, text in words.items()
  ]


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """The files that the commands name."""
  _lines(tmp_path / "mine.jsonl", _rows(720))
  _lines(tmp_path / "eval.jsonl", _rows(20, start=9000))
  data = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
  (recipe,) = re.findall(r"^```json\n(\{.*?)^```$", data, re.M | re.S)
  (tmp_path / "recipe.json").write_text(recipe)
  prompts = [
      {k: row[k] for k in ("id", "lang", "prompt")} for row in _rows(4)
  ]
  _lines(tmp_path / "prompts.jsonl", prompts)
  _lines(tmp_path / "IN.jsonl", [x for x in prompts if x["lang"] == "en"])
  _lines(tmp_path / "P.jsonl", _rows(4))
  _lines(tmp_path / "pairs.jsonl", [
      {"id": "0", "context": "one", "continuation": " two"}
  ])
  for name in ("A", "B"):
    _lines(tmp_path / f"{name}.jsonl", [
        {"id": row["id"], "lang": row["lang"], "model": name,
         "response": f"{i % 4}", "finish_reason": "stop", "num_tokens": 1}
        for i, row in enumerate(prompts)
    ])
  for k, name in enumerate(("one", "two", "three")):
    _lines(tmp_path / f"{name}.jsonl", [
        {"id": row["id"], "lang": row["lang"], "protocol": "rating",
         "judge": "j", "system_a": name, "system_b": "", "order": "ab",
         "raw": "", "failure": "", "score": 1.0 + (i + k) % 3, "gate": {}}
        for i, row in enumerate(prompts)
    ])
  (tmp_path / "ratings.csv").write_text(
      "system,lang,human,judge\na,en,10,11\nb,en,20,19\nc,en,5,7\n"
  )
  for name in ("pocket", "seed0", "seed1"):
    small_studies.write(tmp_path / "runs" / name, "pinch")
  page.write_report(tmp_path / "runs" / "seed1")
  links = {
      "DIR": "tiny/model", "BASE": "tiny/model", "MODEL": "tiny/model",
      "DIR1": "tiny_lora/adapter", "DIR2": "tiny_lora/adapter",
      "peft_directory": "tiny_lora/adapter",
      "runs/pocket/steps/model-base/model": "tiny/model",
  }
  for name, place in links.items():
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).symlink_to(tmp_path / "runs" / place)
  monkeypatch.chdir(tmp_path)
  assert main.main([
      "data", "build", "percent:10", "--total", "1280", "--workdir",
      "runs/data/p10",
  ]) == 0
  return tmp_path


# As diff(1): what it was given differs.
_CODES = {"mlit data diff runs/data/p1 runs/data/p10": 1}
# Of commands without --output or --workdir, what they leave.
_LEFT = {
    "mlit report runs/pocket": "runs/pocket/report.html",
    "mlit report runs/seed1 --against runs/seed0": "runs/seed1/comparison.html",
    "mlit convert BASE merged --adapter peft_directory": "merged/config.json",
}


@pytest.mark.slow
def test_commands_do_what_the_page_says(folder, capfd):
  for command in documented.RUN:
    name, *words = shlex.split(command)
    if name == "mlit":
      code = main.main(words)
    else:
      code = subprocess.run(
          [sys.executable, str(ROOT / name), *words], check=False
      ).returncode
    said = capfd.readouterr()
    assert code == _CODES.get(command, 0), (command, said.err)
    output = next(
        (words[i + 1] for i, w in enumerate(words)
         if w in ("--output", "--workdir")), _LEFT.get(command)
    )
    if output and "--dry-run" not in words and "--status" not in words:
      assert pathlib.Path(output).exists(), command
    else:
      assert said.out.strip(), command
