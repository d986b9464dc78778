"""Processes that are one run: they agree, and end when one of them does."""

import dataclasses
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pod_work
import pytest
from jax.sharding import Mesh

from mlit_jax import distributed, partitioning
from mlit_jax.errors import UsageError
from mlit_jax.training.checkpoint import CheckpointError

POD = pathlib.Path(__file__).parents[1] / "launch" / "local_pod.sh"
LOST = (
    "mlit: host {} of 2 lost another one, and stops; start all of them again,"
    " and the run goes on from its last checkpoint ("
)


def start(number, *arguments, **options):
  return subprocess.Popen(
      [POD, str(number), *options.pop("flags", ()), "--", sys.executable,
       pod_work.__file__, *arguments],
      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
      start_new_session=True, **options,
  )


def finish(pod, seconds=90):
  """(status, every host's lines); nothing of it is left."""
  try:
    out, err = pod.communicate(timeout=seconds)
  finally:
    if pod.poll() is None:
      os.killpg(pod.pid, signal.SIGKILL)
  lines = {}
  for line in (out + err).splitlines():
    if line.startswith("["):
      lines.setdefault(line[:3], []).append(line[4:])
  return pod.returncode, lines


@pytest.mark.multiprocess
def test_two_processes_with_two_devices_each_are_one():
  status, lines = finish(start(2, "sum", flags=["--devices=2"]))
  assert status == 0
  assert lines == {"[0]": ["0 2 22.0"], "[1]": ["1 2 22.0"]}


@pytest.mark.slow
@pytest.mark.multiprocess
@pytest.mark.parametrize("victim", [0, 1])
def test_where_one_is_killed_the_other_says_so_and_stops(victim):
  began = time.monotonic()
  status, lines = finish(start(2, "SIGKILL", str(victim)))
  assert time.monotonic() - began < 60
  assert status == 1
  assert lines[f"[{victim}]"][1:] == ["mlit: ended by signal 9"]
  _, said = lines[f"[{1 - victim}]"]
  assert said.startswith(LOST.format(1 - victim))


@pytest.mark.slow
@pytest.mark.multiprocess
def test_where_one_hangs_the_other_says_so_and_stops():
  pod = start(2, "SIGSTOP", "1")
  began = time.monotonic()
  said = ""
  while "mlit:" not in said:
    said = pod.stdout.readline()
    assert time.monotonic() - began < 60
  assert said.startswith("[0] mlit: this host lost another one, and stops;")
  (stopped,) = stopped_below(pod.pid)
  os.kill(stopped, signal.SIGKILL)
  status, lines = finish(pod)
  assert status == 1 and lines["[1]"][-1] == "mlit: ended by signal 9"


@pytest.mark.slow
@pytest.mark.multiprocess
def test_what_lost_another_host_asks_to_be_started_again():
  with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
  env = os.environ | {
      "MLIT_COORDINATOR": f"127.0.0.1:{port}", "MLIT_NUM_PROCESSES": "2",
  }
  hosts = [
      subprocess.Popen(
          [sys.executable, pod_work.__file__, "fail", "1"],
          env=env | {"MLIT_PROCESS_INDEX": str(index)},
      )
      for index in range(2)
  ]
  assert [host.wait(timeout=90) for host in hosts] == [75, 1]


def stopped_below(pid):
  """Processes under this one that wait for SIGCONT."""
  found = []
  for path in pathlib.Path("/proc").iterdir():
    try:
      state, parent = (path / "stat").read_text().rpartition(")")[2].split()[:2]
    except (OSError, ValueError):
      continue
    if path.name.isdigit() and int(parent) == pid:
      found += [int(path.name)] * (state == "T") + stopped_below(int(path.name))
  return found


@pytest.mark.slow
@pytest.mark.multiprocess
@pytest.mark.parametrize("how, status, message", [
    ("fail", 1, "pod: this one failed"), ("use", 2, "pod: wrong use"),
])
def test_where_one_fails_the_other_stops_too(how, status, message):
  got, lines = finish(start(2, how, "1"))
  assert got == status
  assert lines["[1]"][1:] == [message]
  _, said = lines["[0]"]
  assert said.startswith(LOST.format(0))


@pytest.mark.slow
@pytest.mark.multiprocess
def test_sigterm_ends_all_at_one_step():
  pod = start(2, "term")
  for _ in range(2):
    assert "2 11.0" in pod.stdout.readline()
  time.sleep(1)
  pod.terminate()
  status, lines = finish(pod)
  assert status == 75
  (step,) = {tuple(said) for said in lines.values()}
  assert step[0].startswith("asked at ") and len(lines) == 2


@pytest.mark.slow
@pytest.mark.multiprocess
@pytest.mark.parametrize("cluster", ["SLURM", "Open MPI"])
def test_jax_finds_the_others_of_a_cluster(cluster):
  """In the environment that srun or mpirun gives to each process."""
  job = os.getpid()  # decides on the port
  processes = []
  for index in map(str, range(2)):
    env = {
        "SLURM_JOB_ID": str(job), "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "2", "SLURM_PROCID": index, "SLURM_LOCALID": index,
    } if cluster == "SLURM" else {
        "OMPI_MCA_orte_hnp_uri": f"{job * 4096}.0;tcp://127.0.0.1:34911",
        "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": index,
        "OMPI_COMM_WORLD_LOCAL_RANK": index,
    }
    processes.append(subprocess.Popen(
        [sys.executable, pod_work.__file__, "sum"], stdout=subprocess.PIPE,
        text=True, env=os.environ | env | {"MLIT_DISTRIBUTED": "auto"},
    ))
  said = [p.communicate(timeout=120)[0] for p in processes]
  assert said == ["0 2 11.0\n", "1 2 11.0\n"]


@pytest.mark.slow
def test_without_a_cluster_auto_says_what_is_missing():
  done = subprocess.run(
      [sys.executable, pod_work.__file__, "sum"], capture_output=True,
      text=True, env=os.environ | {"MLIT_DISTRIBUTED": "auto"},
  )
  assert done.returncode == 1
  assert done.stderr.startswith("pod: the hosts did not find each other (")
  assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("env, expected", [
    ({}, None),
    ({"MLIT_DISTRIBUTED": ""}, None),
    ({"MLIT_DISTRIBUTED": "auto"}, "auto"),
    ({"MLIT_COORDINATOR": "h:1", "MLIT_NUM_PROCESSES": "3",
      "MLIT_PROCESS_INDEX": "2"}, ("h:1", 3, 2)),
])
def test_the_environment_says_how_to_join(env, expected):
  assert distributed._settings(env) == expected


@pytest.mark.parametrize("env, message", [
    ({"MLIT_DISTRIBUTED": "yes"}, "MLIT_DISTRIBUTED=yes: give auto"),
    ({"MLIT_COORDINATOR": "h:1"},
     "MLIT_COORDINATOR is set, but not MLIT_NUM_PROCESSES, MLIT_PROCESS_INDEX"),
    ({"MLIT_COORDINATOR": "h:1", "MLIT_NUM_PROCESSES": "2",
      "MLIT_PROCESS_INDEX": "2"}, "give 0 to number - 1"),
    ({"MLIT_COORDINATOR": "h:1", "MLIT_NUM_PROCESSES": "two",
      "MLIT_PROCESS_INDEX": "0"}, "give 0 to number - 1"),
    ({"MLIT_COORDINATOR": "h", "MLIT_NUM_PROCESSES": "2",
      "MLIT_PROCESS_INDEX": "0"}, "MLIT_COORDINATOR=h: give HOST:PORT"),
])
def test_an_environment_that_makes_no_sense(env, message):
  with pytest.raises(UsageError, match=message):
    distributed._settings(env)


GONE = "INTERNAL: Barrier failed because: Task 1 heartbeat timeout"


@pytest.mark.parametrize("behind, is_loss", [
    (jax.errors.JaxRuntimeError(GONE), True),
    (jax.errors.JaxRuntimeError("INTERNAL: out of memory"), False),
    # A store that does not answer is not a host that is gone.
    (ValueError("UNAVAILABLE: Error writing gs://bucket/state"), False),
])
@pytest.mark.parametrize("way", ["cause", "context", "suppressed"])
def test_a_lost_host_is_seen_behind_an_error_of_ours(behind, is_loss, way):
  error = CheckpointError("no checkpoint could be written")
  error.__context__ = behind
  if way == "cause":
    error.__cause__ = behind
  error.__suppress_context__ = way != "context"
  expected = behind if is_loss and way != "suppressed" else None
  assert distributed._loss(error) is expected


def test_a_lost_host_is_seen_in_the_error_itself():
  for error in (ValueError("UNKNOWN: Gloo all-reduce failed"),
                jax.errors.JaxRuntimeError(GONE)):
    assert distributed._loss(error) is error
  assert distributed._loss(CheckpointError(GONE)) is None


def test_alone_the_work_is_done_right_here():
  assert distributed.run(os.getpid) == os.getpid()


@dataclasses.dataclass(frozen=True)
class Device:
  """All that a mesh asks of one."""

  id: int
  process_index: int
  platform: str = "cpu"
  device_kind: str = "cpu"


def mesh(hosts, each, **sizes):
  devices = [Device(i, i // each) for i in range(hosts * each)]
  shape = [sizes.get(axis, 1) for axis in partitioning.MESH_AXES]
  return Mesh(
      np.array(devices, dtype=object).reshape(shape), partitioning.MESH_AXES
  )


@pytest.mark.parametrize("hosts, each, sizes, expected", [
    (2, 2, {"fsdp": 4}, (0, 2)),
    (2, 2, {"fsdp": 2, "tensor": 2}, (0, 2)),
    (4, 1, {"fsdp": 2, "tensor": 2}, (0, 2)),  # two and two read the same
    (2, 1, {"tensor": 2}, (0, 1)),
    (4, 1, {"fsdp": 2, "sequence": 2}, (0, 2)),
    (2, 1, {"sequence": 2}, (0, 1)),
])
def test_hosts_that_hold_the_same_rows_read_the_same(
    hosts, each, sizes, expected
):
  assert partitioning.host_part(mesh(hosts, each, **sizes)) == expected


def test_rows_that_cannot_be_handed_out_are_refused():
  with pytest.raises(partitioning.PartitionError, match="'tensor': 3.* row"):
    partitioning.host_part(mesh(3, 2, fsdp=2, tensor=3))
