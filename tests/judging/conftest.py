"""A local server for the judges behind an API, and rows to judge."""

import json
import pathlib
import subprocess
import sys
import urllib.request

import pytest

from mlit_jax import records
from mlit_jax.judging import judges


class Server:
  """A running judge_server.py."""

  def __init__(self, port: int):
    self.url = f"http://127.0.0.1:{port}"

  def control(self, **options):
    """Says how to behave from now on; forgets what was asked."""
    self._fetch("/control", options)

  def control_calls(self, *faults):
    """Lets the next calls of a batch API fail so."""
    self._fetch("/calls", list(faults))

  def stats(self) -> dict:
    return self._fetch("/stats")

  def _fetch(self, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(self.url + path, data=data)
    with urllib.request.urlopen(request) as response:
      return json.load(response)


@pytest.fixture(scope="session")
def running_server():
  script = pathlib.Path(__file__).with_name("judge_server.py")
  process = subprocess.Popen(
      [sys.executable, str(script)], stdout=subprocess.PIPE, text=True
  )
  try:
    yield Server(int(process.stdout.readline()))
  finally:
    process.kill()
    process.wait()


@pytest.fixture
def server(running_server):
  """The server, behaving well."""
  running_server.control()
  return running_server


@pytest.fixture
def make_requests():
  """Makes side-by-side requests, each different."""

  def make(number, system="End with [[A]], [[B]] or [[C]].", sample=0):
    return [
        judges.Request(
            id=str(i), lang="en", instruction=(), reference="",
            answers=("a", "bb"), sample=sample,
            prompt=(
                records.Message("system", system),
                records.Message(
                    "user",
                    f"{i}\n<judge:answer_a>\n{i}\n</judge:answer_a>\n"
                    "<judge:answer_b>\nbb\n</judge:answer_b>",
                ),
            ),
        )
        for i in range(number)
    ]

  return make
