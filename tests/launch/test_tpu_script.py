"""launch/tpu against a gcloud that records calls and has real workers."""

import json
import os
import pathlib
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).parents[2]
FAKE = pathlib.Path(__file__).with_name("fake_gcloud.py")
NASTY = [
    "plain", "two words", "a;b", "$HOME", "it's", '"quoted"', "`id`", "$(id)",
    "a\\b", "*", "--config.x=[1, 2]", "", "  two  spaces  ", "ünï", "!h", "~",
    "line\nbreak", "a&b|c>d", "#", "{x,y}",
]


@pytest.fixture
def cloud(tmp_path):
  """A PATH with the fake gcloud; two slices of two workers each."""
  bin_ = tmp_path / "bin"
  bin_.mkdir()
  gcloud = bin_ / "gcloud"
  gcloud.write_text(f"#!/bin/sh\nexec {sys.executable} {FAKE} \"$@\"\n")
  gcloud.chmod(0o755)
  for worker in ("0-0", "0-1", "1-0", "1-1"):
    venv = tmp_path / "workers" / worker / "mlit-venv" / "bin"
    venv.mkdir(parents=True)
    # Says how it was called, then works until it is told to stop.
    (venv / "mlit").write_text(
        f"#!{sys.executable}\n"
        "import json, os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))\n"
        "open(os.environ['HOME'] + '/argv.json.new', 'w').write(json.dumps("
        "[sys.argv[1:], os.environ['MLIT_DISTRIBUTED'], os.getcwd()]))\n"
        "os.rename(os.environ['HOME'] + '/argv.json.new',"
        " os.environ['HOME'] + '/argv.json')\n"
        "print('working', flush=True)\n"
        "time.sleep(60 if 'wait' in sys.argv else 0)\n"
        "sys.exit(3 if 'fail' in sys.argv else 0)\n"
    )
    (venv / "mlit").chmod(0o755)
  (tmp_path / "states").write_text("ACTIVE")
  return tmp_path


def tpu(cloud, *arguments, answer="", check=True):
  env = os.environ | {
      "PATH": f"{cloud / 'bin'}:{os.environ['PATH']}", "FAKE": str(cloud),
      "MLIT_LAUNCH_POLL": "0.05", "TMPDIR": str(cloud),
  }
  done = subprocess.run(
      [ROOT / "launch" / "tpu", *arguments], input=answer, env=env,
      capture_output=True, text=True, timeout=60,
  )
  if check:
    assert done.returncode == 0, done.stderr
  return done


def calls(cloud):
  path = cloud / "calls.jsonl"
  if not path.exists():
    return []
  return [json.loads(line) for line in path.read_text().splitlines()]


def queued(verb, *rest):
  return ["compute", "tpus", "queued-resources", verb, *rest]


def workers(cloud):
  return sorted((cloud / "workers").iterdir())


def until(condition):
  for _ in range(200):
    if condition():
      return
    time.sleep(0.05)
  raise AssertionError("did not happen")


def test_create_asks_for_a_slice(cloud):
  tpu(cloud, "create", "my-run", "--type", "v5litepod-16", "--spot",
      "--zone=us-west4-a", "--valid_until", "6h")
  assert calls(cloud) == [queued(
      "create", "my-run", "--accelerator-type=v5litepod-16",
      "--runtime-version=v2-alpha-tpuv5-lite", "--node-id=my-run", "--spot",
      "--valid-until-duration=6h", "--zone=us-west4-a",
  )]


def test_create_asks_for_a_multislice(cloud):
  tpu(cloud, "create", "my-run", "--type=v4-32", "--slices=2", "--project", "p")
  assert calls(cloud) == [queued(
      "create", "my-run", "--accelerator-type=v4-32",
      "--runtime-version=tpu-ubuntu2204-base", "--node-count=2",
      "--node-prefix=my-run", "--project=p",
  )]


def test_arguments_arrive_untouched_on_every_worker(cloud):
  tpu(cloud, "sync", "my-run")
  tpu(cloud, "run", "my-run", "--", "mlit", "train", *NASTY)
  for home in workers(cloud):
    until((home / "argv.json").exists)
    argv, distributed, directory = json.loads(
        (home / "argv.json").read_text()
    )
    assert argv == ["train", *NASTY]
    assert distributed == "auto"
    assert directory == str(home / "mlit-jax")


def git(*arguments):
  return subprocess.run(
      ["git", "-C", ROOT, *arguments], capture_output=True, text=True,
      check=True,
  ).stdout.strip()


def test_sync_copies_what_git_knows(cloud):
  tpu(cloud, "sync", "my-run")
  for home in workers(cloud):
    tree = home / "mlit-jax"
    for name in ("setup.py", "launch/worker.sh", "mlit_jax/main.py"):
      assert (tree / name).read_bytes() == (ROOT / name).read_bytes()
    assert not (tree / ".git").exists() and not (tree / ".venv").exists()
    assert not any(tree.rglob("__pycache__"))
    # The copy has no .git: whatever trains there still says what it is.
    said = json.loads((tree / ".git_archival.json").read_text())
    assert said["git"] == git("rev-parse", "HEAD")
    assert said["git_changed"] == bool(git("status", "--porcelain"))
  assert not list(cloud.glob("*.tgz"))


def test_a_job_runs_is_followed_and_stops(cloud):
  tpu(cloud, "sync", "my-run")
  tpu(cloud, "run", "my-run", "--", "mlit", "wait")
  for home in workers(cloud):
    until((home / "argv.json").exists)
  assert tpu(cloud, "status", "my-run").stdout.count(": running") == 4
  until(lambda: "working" in tpu(cloud, "logs", "my-run").stdout)
  for verb in (["run", "my-run", "--", "mlit", "again"], ["sync", "my-run"]):
    refused = tpu(cloud, *verb, check=False)
    assert refused.returncode == 1
    assert refused.stderr.count("already running; stop it first") == 4
  tpu(cloud, "stop", "my-run")
  until(lambda: tpu(cloud, "status", "my-run").stdout.count(
      ": finished with 75") == 4)
  tpu(cloud, "run", "my-run", "--", "mlit", "fail")
  until(lambda: tpu(cloud, "status", "my-run").stdout.count(
      ": finished with 3") == 4)


def test_another_process_of_the_same_number_is_no_job(cloud):
  """After a reboot the job is gone, and its number may be given again."""
  tpu(cloud, "sync", "my-run")
  for home in workers(cloud):
    (home / "mlit-job").mkdir()
    (home / "mlit-job" / "pid").write_text(f"{os.getpid()}\n")
  assert tpu(cloud, "status", "my-run").stdout.count(": died") == 4
  tpu(cloud, "stop", "my-run")  # must not end this very process
  tpu(cloud, "run", "my-run", "--", "mlit", "fail")
  until(lambda: tpu(cloud, "status", "my-run").stdout.count(
      ": finished with 3") == 4)


@pytest.mark.parametrize("state, made_anew", [
    ("SUSPENDED", True), ("FAILED", True), ("NOT_FOUND", True),
    ("ACTIVE", False), ("PROVISIONING", False),
])
def test_resume_after_a_preemption(cloud, state, made_anew):
  (cloud / "states").write_text(f"{state}\nWAITING_FOR_RESOURCES\nACTIVE")
  done = tpu(
      cloud, "resume", "my-run", "--type", "v6e-8", "--spot", "--yes", "--",
      "mlit", "train",
  )
  verbs = [call[3] for call in calls(cloud) if call[3] != "describe"]
  made = ["create"] if made_anew else []
  if state in ("SUSPENDED", "FAILED"):
    made = ["delete", *made]
  assert verbs == [*made, "scp", "ssh", "ssh", "ssh"]
  assert "my-run: ACTIVE" in done.stderr
  for home in workers(cloud):
    until((home / "argv.json").exists)


def test_waiting_ends_when_there_is_nothing_to_wait_for(cloud):
  (cloud / "states").write_text("PROVISIONING\nFAILED")
  done = tpu(cloud, "wait", "my-run", check=False)
  assert done.returncode == 1 and "my-run: FAILED; see" in done.stderr


@pytest.mark.parametrize("answer", ["", "no\n", "y\n", "my-run\n"])
def test_nothing_is_deleted_without_a_yes(cloud, answer):
  assert tpu(cloud, "delete", "my-run", answer=answer, check=False
             ).returncode == 1
  (cloud / "states").write_text("SUSPENDED")
  assert tpu(cloud, "resume", "my-run", "--type=v6e-8", "--", "mlit",
             answer=answer, check=False).returncode == 1
  assert [call[3] for call in calls(cloud)] == ["describe"]


def test_a_typed_yes_deletes(cloud):
  tpu(cloud, "delete", "my-run", answer="yes\n")
  tpu(cloud, "delete", "my-run", "--yes")
  assert calls(cloud) == [queued("delete", "my-run", "--force", "--quiet")] * 2


def test_collect_copies_from_worker_0(cloud):
  run = workers(cloud)[0] / "out" / "run"
  run.mkdir(parents=True)
  (run / "loss.jsonl").write_text("1")
  tpu(cloud, "collect", "my-run", "out/run", str(cloud / "here"))
  assert (cloud / "here" / "loss.jsonl").read_text() == "1"


@pytest.mark.parametrize("arguments", [
    ["create", "a", "--type=v5p-8"], ["sync", "a"], ["setup", "a"],
    ["run", "a", "--", "mlit", *NASTY], ["status", "a"], ["logs", "a"],
    ["stop", "a"], ["collect", "a", "x y", "z"], ["delete", "a"], ["list"],
    ["resume", "a", "--type=v5p-8", "--bucket=bb", "--", "mlit", *NASTY],
    ["wait", "a"],
])
def test_a_dry_run_prints_what_a_run_does(cloud, arguments):
  at = arguments.index("--") if "--" in arguments else len(arguments)
  printed = tpu(cloud, *arguments[:at], "--dry_run", *arguments[at:]).stdout
  assert calls(cloud) == []
  (cloud / "states").write_text("SUSPENDED\nACTIVE")
  tpu(cloud, *arguments[:at], "--yes", *arguments[at:], check=False)
  made = calls(cloud)
  assert made
  until(lambda: all(  # no job is left
      (home / "mlit-job" / "status").exists()
      for home in workers(cloud) if (home / "mlit-job").exists()
  ))
  (cloud / "calls.jsonl").unlink()
  (cloud / "states").write_text("SUSPENDED\nACTIVE")
  env = os.environ | {
      "PATH": f"{cloud / 'bin'}:{os.environ['PATH']}", "FAKE": str(cloud),
  }
  subprocess.run(["sh", "-ec", printed], env=env, capture_output=True)
  assert calls(cloud) == made


@pytest.mark.parametrize("arguments, message", [
    (["delete"], "delete needs a name: launch/tpu delete NAME"),
    (["delete", "--yes"], "delete needs a name"),
    (["delete", "a", "b"], "delete takes 1 words, and got 2: a b"),
    (["delete", "*"], "name '*': small letters"),
    (["delete", ""], "name '': small letters"),
    (["create", "a"], "create needs --type, e.g. --type v5litepod-16"),
    (["create", "a", "--type"], "--type needs a value"),
    (["create", "a", "--type=h100"], "no runtime known for type 'h100'"),
    (["create", "a", "--type=v4-8", "--slices=0"], "give at least 1"),
    (["create", "a", "--type=v4-8", "--slices=two"], "'two' is not a number"),
    (["create", "a", "--type=v4-8", "--spot", "--reserved"], "not both"),
    (["run", "a"], "run needs a command: -- mlit train ..."),
    (["run", "a", "--config=x"], "unknown flag '--config=x'"),
    (["run", "a", "mlit", "train"], "run takes 1 words"),
    (["setup", "a", "--bucket=gs://b"], "a bucket's name, without gs://"),
    (["launch", "a"], "unknown verb 'launch'; launch/tpu help lists them"),
])
def test_wrong_use_is_one_line(cloud, arguments, message):
  done = tpu(cloud, *arguments, answer="yes\n", check=False)
  assert done.returncode == 2
  assert message in done.stderr and done.stderr.count("\n") == 1
  assert calls(cloud) == []
