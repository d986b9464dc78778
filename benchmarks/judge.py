"""How near a judging run comes to its provider's own time.

  python benchmarks/judge.py            three rounds of both protocols

The server of the tests answers every request after 250 ms (and after a second),
64 at a time. The ideal is 250 ms times the number of requests / 64; what is
printed is the wall time over it, of each round.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request

from mlit_jax import cache, records
from mlit_jax.judging import gemini, judges, openai_chat, pacing, remote

SERVER = pathlib.Path(__file__).parents[1] / "tests/judging/judge_server.py"
CONCURRENCY, BATCHES = 64, 24


def requests(number: int) -> list[judges.Request]:
  """Side-by-side requests, each different."""
  found = []
  for i in range(number):
    text = (
        f"{i}\n<judge:answer_a>\n{i}\n</judge:answer_a>\n"
        "<judge:answer_b>\nbb\n</judge:answer_b>"
    )
    messages = (
        records.Message("system", "End with [[A]], [[B]] or [[C]]."),
        records.Message("user", text),
    )
    found.append(
        judges.Request(
            id=str(i), lang="en", instruction=(), reference="",
            answers=("a", "bb"), sample=0, prompt=messages,
        )
    )
  return found


def ratio(vendor, latency: float) -> float:
  """Wall time of a run over the ideal one."""
  number = CONCURRENCY * BATCHES
  limits = pacing.Limits(concurrency=CONCURRENCY, timeout=10)
  with (
      tempfile.TemporaryDirectory() as folder,
      cache.Cache(pathlib.Path(folder) / "replies.jsonl") as store,
  ):
    judge = remote.RemoteJudge("judge", vendor, store, limits)
    began = time.monotonic()
    replies = judge.judge(requests(number))
    took = time.monotonic() - began
    if any(r.failure for r in replies):
      raise RuntimeError("replies failed; the time says nothing")
  return took / (BATCHES * latency)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--rounds", type=int, default=3)
  rounds = parser.parse_args().rounds
  process = subprocess.Popen(
      [sys.executable, str(SERVER)], stdout=subprocess.PIPE, text=True
  )
  try:
    url = f"http://127.0.0.1:{int(process.stdout.readline())}"
    vendors = {
        "OpenAI-compatible": openai_chat.OpenAIChat("m", f"{url}/v1", key="k"),
        "Gemini": gemini.Gemini("m", key="k", url=url),
    }
    print("| protocol | reply after | wall time over the ideal |")
    print("|---|---|---|")
    for latency in (0.25, 1.0):
      body = json.dumps({"latency": latency}).encode()
      urllib.request.urlopen(
          urllib.request.Request(url + "/control", data=body)
      ).close()
      for name, vendor in vendors.items():
        found = [ratio(vendor, latency) for _ in range(rounds)]
        said = ", ".join(f"{x:.2f}" for x in sorted(found))
        print(f"| {name} | {1000 * latency:.0f} ms | {said} |", flush=True)
  finally:
    process.kill()
    process.wait()


if __name__ == "__main__":
  main()
