"""How near a judging run comes to its provider's own time.

  python benchmarks/judge.py            three rounds of both protocols
  python benchmarks/judge.py --rounds 1 --batches 313 --latency 250
                                        20,032 judgments each

The server of the tests answers every request after 250 ms (and after a second),
64 at a time. The ideal is 250 ms times the number of requests / 64; what is
printed is the wall time over it, of each round; in the first the client's parts
are loaded and its connections opened.
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
CONCURRENCY = 64


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


def ratio(vendor, batches: int, latency: float) -> float:
  """Wall time over the ideal one of `batches` times CONCURRENCY requests."""
  number = CONCURRENCY * batches
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
  return took / (batches * latency)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--rounds", type=int, default=3)
  parser.add_argument(
      "--batches", type=int, default=24, help=f"of {CONCURRENCY} requests"
  )
  parser.add_argument(
      "--latency", type=int, nargs="+", default=[250, 1000], help="in ms"
  )
  args = parser.parse_args()
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
    for latency in args.latency:
      body = json.dumps({"latency": latency / 1000}).encode()
      urllib.request.urlopen(
          urllib.request.Request(url + "/control", data=body)
      ).close()
      for name, vendor in vendors.items():
        found = [
            ratio(vendor, args.batches, latency / 1000)
            for _ in range(args.rounds)
        ]
        said = ", ".join(f"{x:.2f}" for x in found)
        print(f"| {name} | {latency} ms | {said} |", flush=True)
  finally:
    process.kill()
    process.wait()


if __name__ == "__main__":
  main()
