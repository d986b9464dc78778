"""A gcloud that records its arguments and keeps workers in directories.

FAKE is a directory: calls.jsonl gets a line per call; states holds what
`describe` says, one line a call, the last for ever; workers/NODE-WORKER are
the workers' home directories.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys


def main(argv) -> int:
  fake = pathlib.Path(os.environ["FAKE"])
  with open(fake / "calls.jsonl", "a", encoding="utf-8") as f:
    f.write(json.dumps(argv) + "\n")
  if argv[:3] != ["compute", "tpus", "queued-resources"]:
    return 2
  flags = dict(a[2:].partition("=")[::2] for a in argv if a.startswith("--"))
  words = [a for a in argv[4:] if not a.startswith("--")]
  homes = [
      home for home in sorted((fake / "workers").iterdir())
      if flags.get("node", "all") in ("all", home.name[0])
      and flags.get("worker", "all") in ("all", home.name[-1])
  ]
  match argv[3]:
    case "describe":
      return describe(fake / "states")
    case "ssh":
      return max(ssh(home, flags["command"]) for home in homes)
    case "scp":
      source, target = words
      for home in homes:
        if ":" in target:
          shutil.copy(source, home / target.partition(":")[2])
        else:
          shutil.copytree(home / source.partition(":")[2], target)
  return 0


def describe(states: pathlib.Path) -> int:
  lines = states.read_text().split()
  if len(lines) > 1:
    states.write_text("\n".join(lines[1:]))
  if lines[0] == "NOT_FOUND":
    print("ERROR: NOT_FOUND", file=sys.stderr)
    return 1
  print(lines[0])
  return 0


def ssh(home: pathlib.Path, command: str) -> int:
  if command.startswith("mlit-jax/launch/worker.sh setup"):
    return 0  # a real one installs
  # As gcloud and ssh do: cut at spaces, joined again, read by the login shell.
  line = " ".join(command.split(" "))
  return subprocess.run(
      ["bash", "-c", line], cwd=home, env=os.environ | {"HOME": str(home)}
  ).returncode


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
