"""The other launch scripts, and shellcheck over all of them."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).parents[2]
LAUNCH = ROOT / "launch"
NASTY = ["a  b", "it's", '"q"', "$HOME", "$(id)", "{x}", "a;b\n|c", "", "ünï"]


def call(script, *arguments, answer="", path="", **env):
  return subprocess.run(
      [LAUNCH / script, *arguments], input=answer, capture_output=True,
      text=True, timeout=60,
      env=os.environ | {"PATH": f"{path}:{os.environ['PATH']}"} | env,
  )


@pytest.fixture
def recorder(tmp_path):
  """A PATH on which xpk and kubectl write their arguments to `calls`."""
  for name in ("xpk", "kubectl"):
    (tmp_path / name).write_text(
        f"#!{sys.executable}\nimport json, sys\n"
        f"with open({str(tmp_path / 'calls')!r}, 'a') as f:\n"
        f"  f.write(json.dumps([{name!r}, *sys.argv[1:]]) + '\\n')\n"
    )
    (tmp_path / name).chmod(0o755)
  return tmp_path


def recorded(path):
  calls = path / "calls"
  if not calls.exists():
    return []
  return [json.loads(line) for line in calls.read_text().splitlines()]


def test_shellcheck_finds_nothing():
  # Beside the Python that runs this, which need not be on the path.
  beside = str(pathlib.Path(sys.executable).parent)
  shellcheck = shutil.which("shellcheck", path=beside) or shutil.which(
      "shellcheck"
  )
  assert shellcheck, "shellcheck is part of the extra `test`"
  scripts = [p for p in LAUNCH.iterdir() if b"bash" in p.read_bytes()[:80]]
  assert len(scripts) == 5
  done = subprocess.run(
      [shellcheck, "--external-sources", *scripts], cwd=LAUNCH,
      capture_output=True, text=True,
  )
  assert done.stdout == "" and done.returncode == 0


def test_a_job_goes_to_xpk_and_its_arguments_arrive(recorder):
  done = call(
      "gke", "run", "my-job", "--cluster=c", "--type", "v5litepod-16",
      "--slices=2", "--image", "gcr.io/p/mlit", "--zone=us-west4-a", "--",
      sys.executable, "-c",
      "import json, os, sys; print(json.dumps([os.environ['MLIT_DISTRIBUTED'],"
      " *sys.argv[1:]]))", *NASTY, path=recorder,
  )
  assert done.returncode == 0, done.stderr
  [argv] = recorded(recorder)
  assert argv[:-1] == [
      "xpk", "workload", "create", "--cluster=c", "--workload=my-job",
      "--tpu-type=v5litepod-16", "--num-slices=2",
      "--docker-image=gcr.io/p/mlit", "--max-restarts=100",
      "--restart-on-exit-codes=75", "--termination-grace-period-seconds=300",
      "--zone=us-west4-a",
  ]
  command = argv[-1].removeprefix("--command=")
  # What xpk's YAML and Kubernetes would change is not in it.
  assert not set(command) & set("\"'$`{}\\\n")
  # xpk's container runs it thus, and hands SIGTERM to $!.
  ran = subprocess.run(
      ["bash", "-c", f"({command}) & wait $!"], capture_output=True, text=True
  )
  assert json.loads(ran.stdout) == ["auto", *NASTY]


@pytest.mark.parametrize("arguments", [
    ["run", "j", "--cluster=c", "--type=v6e-8", "--image=i", "--", "mlit",
     *NASTY],
    ["logs", "j", "--follow"], ["delete", "j", "--cluster=c"],
    ["list", "--cluster=c"],
])
def test_a_dry_run_prints_what_a_run_does(arguments, recorder):
  at = arguments.index("--") if "--" in arguments else len(arguments)
  dry = call("gke", *arguments[:at], "--dry_run", *arguments[at:],
             path=recorder)
  assert dry.returncode == 0 and recorded(recorder) == []
  assert call("gke", *arguments, answer="yes\n", path=recorder).returncode == 0
  made = recorded(recorder)
  assert len(made) == 1
  subprocess.run(
      ["sh", "-ec", dry.stdout],
      env=os.environ | {"PATH": f"{recorder}:{os.environ['PATH']}"}, check=True,
  )
  assert recorded(recorder) == made * 2


def test_a_local_pod_s_dry_run_prints_what_it_does():
  code = (
      "import os, sys; print(os.environ['MLIT_PROCESS_INDEX'],"
      " os.environ['XLA_FLAGS'], sys.argv[1:])"
  )
  arguments = "2", "--devices=3", "--", sys.executable, "-c", code, *NASTY
  dry = call("local_pod.sh", "--dry_run", *arguments)
  assert dry.returncode == 0
  done = subprocess.run(
      ["sh", "-ec", dry.stdout], capture_output=True, text=True, check=True
  )
  pod = call("local_pod.sh", *arguments)
  assert pod.returncode == 0
  assert sorted(line[4:] for line in pod.stdout.splitlines()) == sorted(
      done.stdout.splitlines()
  )


def test_sigterm_reaches_a_job_on_gke(recorder):
  call("gke", "run", "j", "--cluster=c", "--type=v6e-8", "--image=i", "--",
       sys.executable, "-c",
       "import signal, sys, time\n"
       "signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))\n"
       "print('up', flush=True); time.sleep(30)", path=recorder)
  command = recorded(recorder)[0][-1].removeprefix("--command=")
  shell = subprocess.Popen(
      ["bash", "-c", f"trap 'kill -TERM $!' TERM; ({command}) & wait $!;"
       " wait $!; exit $?"], stdout=subprocess.PIPE, text=True,
  )
  assert shell.stdout.readline() == "up\n"
  shell.terminate()
  assert shell.wait(timeout=20) == 75


def test_jobs_are_deleted_only_on_a_yes(recorder):
  delete = ("gke", "delete", "my-job", "--cluster=c")
  assert call(*delete, answer="no\n", path=recorder).returncode == 1
  assert recorded(recorder) == []
  assert call(*delete, answer="yes\n", path=recorder).returncode == 0
  assert recorded(recorder) == [[
      "xpk", "workload", "delete", "--cluster=c", "--workload=my-job", "--force"
  ]]


@pytest.mark.parametrize("script, arguments, message", [
    ("gke", ["delete", "--cluster=c"], "delete needs one name"),
    ("gke", ["delete", "my-job"], "delete needs --cluster"),
    ("gke", ["run", "j", "--cluster=c", "--type=t", "--", "x"], "--image"),
    ("gke", ["stop", "j"], "unknown verb 'stop'; launch/gke help lists them"),
    ("local_pod.sh", ["--", "true"], "give a number of processes"),
    ("local_pod.sh", ["0", "--", "true"], "give a number of processes"),
    ("local_pod.sh", ["2"], "give a command: -- mlit train ..."),
    ("local_pod.sh", ["2", "--devices=x", "--", "true"], "--devices 'x'"),
])
def test_wrong_use_is_one_line(recorder, script, arguments, message):
  done = call(script, *arguments, path=recorder)
  assert done.returncode == 2 and message in done.stderr
  assert done.stderr.count("\n") == 1 and recorded(recorder) == []


def test_a_local_pod_prefixes_lines_and_returns_the_worst_status(monkeypatch):
  monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_max_isa=AVX2")
  done = call(
      "local_pod.sh", "3", "--devices=2", "--", sys.executable, "-c",
      "import os, sys; i = int(os.environ['MLIT_PROCESS_INDEX']);"
      " print(os.environ['MLIT_NUM_PROCESSES'], os.environ['XLA_FLAGS'],"
      " sys.argv[1:]); sys.exit([0, 75, 3][i])", *NASTY,
  )
  assert done.returncode == 3
  flags = "--xla_cpu_max_isa=AVX2 --xla_force_host_platform_device_count=2"
  line = f"3 {flags} {NASTY}"
  assert sorted(done.stdout.splitlines()) == [f"[{i}] {line}" for i in range(3)]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_local_pod_hands_signals_on(name):
  code = (
      f"import signal, sys, time\nsignal.signal(signal.{name},"
      " lambda *_: (print('saving'), sys.exit(75)))\n"
      "print('up'); time.sleep(30)"
  )
  pod = subprocess.Popen(
      # What runs in the background has SIGINT ignored, for good.
      ["env", "--default-signal=INT", LAUNCH / "local_pod.sh", "2", "--",
       sys.executable, "-c", code],
      stdout=subprocess.PIPE, text=True,
  )
  assert [pod.stdout.readline()[3:] for _ in range(2)] == [" up\n"] * 2
  began = time.monotonic()
  pod.send_signal(getattr(signal, name))
  rest, _ = pod.communicate(timeout=20)
  assert pod.returncode == 75 and time.monotonic() - began < 10
  assert sorted(rest.splitlines()) == ["[0] saving", "[1] saving"]


def test_a_killed_process_shows_in_the_status():
  done = call(
      "local_pod.sh", "2", "--", sys.executable, "-c",
      "import os, signal; os.environ['MLIT_PROCESS_INDEX'] == '1' and"
      " os.kill(os.getpid(), signal.SIGKILL)",
  )
  assert done.returncode == 128 + signal.SIGKILL


@pytest.mark.parametrize(("ends", "status"), [
    ("0 75", 75), ("75 0", 75), ("75 1", 1), ("1 75", 1), ("2 1", 2),
])
def test_a_local_pod_ends_as_its_worst_process(ends, status):
  done = call(
      "local_pod.sh", "2", "--", sys.executable, "-c",
      "import os, sys; i = int(os.environ['MLIT_PROCESS_INDEX'])\n"
      f"sys.exit(int('{ends}'.split()[i]))",
  )
  assert done.returncode == status
