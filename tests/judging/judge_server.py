"""A local server that speaks OpenAI's and Gemini's protocols, well or badly.

It runs as a process of its own (`python judge_server.py`), prints its port and
is told how to behave:

  POST /control {"latency": 0.25, "faults": {"500": 0.05}, "seed": 1, ...}
  GET  /stats   what was asked so far

Faults: 429, 429_after (with Retry-After), 500, hang, truncated, empty_choice,
empty_text, refusal, wrong_language, cut; or `always`, a list of faults for the
next requests. `together` requests wait for each other before the first reply
comes (at most ten seconds). `taste` says which answer it prefers: first, good
(the one with the word "good", quoting both answers after its verdict) or
longer.
"""

import asyncio
import collections
import contextlib
import hashlib
import json
import random
import re
import sys

_NATIVE = "Vastaus on mielestäni parempi kuin toinen, mutta en sano enempää."


class Server:
  """See the module."""

  def __init__(self):
    self.control({})

  def control(self, options):
    self.latency = options.get("latency", 0)
    self.faults = options.get("faults", {})
    self.always = list(options.get("always", []))
    self.retry_after = options.get("retry_after", "0")
    self.taste = options.get("taste", "longer")
    self.secret = options.get("secret")
    self.tells_usage = options.get("tells_usage", True)
    self.rng = random.Random(options.get("seed", 0))
    self.asked = collections.Counter()
    self.replied = collections.Counter()
    self.faulted = collections.Counter()
    self.times = []
    self.now = self.most = 0
    self.together = options.get("together", 1)
    self.met = asyncio.Event()
    self.batches, self.files = {}, {}
    self.batch_polls = options.get("batch_polls", 1)
    self.batch_fails = options.get("batch_fails", 0)
    self.call_faults = list(options.get("call_faults", []))

  def stats(self):
    return {
        "requests": sum(self.asked.values()),
        "asked": self.asked, "replied": self.replied, "faults": self.faulted,
        "times": self.times[:5000], "most": self.most,
        "batches": len(self.batches),
    }

  async def connection(self, reader, writer):
    try:
      while line := await reader.readline():
        method, path, _ = line.decode().split(" ", 2)
        headers = {}
        while (line := await reader.readline()) not in (b"\r\n", b""):
          field, _, value = line.decode().partition(":")
          headers[field.lower()] = value.strip()
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        if not await self.respond(writer, method, path, headers, body):
          break
    except (ConnectionError, asyncio.IncompleteReadError):
      pass
    finally:
      writer.close()

  async def respond(self, writer, method, path, headers, body):
    """Whether the connection goes on."""

    def send(status, value, more="", cut=0):
      data = value if isinstance(value, bytes) else json.dumps(value).encode()
      writer.write(
          f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{more}"
          f"Content-Length: {len(data) - cut}\r\n\r\n".encode()
          + data[: len(data) - cut]
      )
      return True

    if path == "/control":
      self.control(json.loads(body))
      return send(200, {})
    if path == "/calls":
      self.call_faults = json.loads(body)
      return send(200, {})
    if path == "/stats":
      return send(200, self.stats())
    key = headers.get("authorization", "").removeprefix("Bearer ")
    key = key or headers.get("x-goog-api-key", "")
    if self.secret and key != self.secret:
      told = f"API key not valid: {key}"
      return send(401, {"error": {"code": 401, "message": told}})
    if path.startswith(("/v1/files", "/v1/batches")) or path.endswith(
        ":batchGenerateContent"
    ):
      if self.call_faults and (fault := self.call_faults.pop(0)):
        if fault != "truncated":
          told = {"code": int(fault), "message": "no"}
          return send(int(fault), {"error": told})
        return send(200, b'{"id": "fi')
      google = "x-goog-api-key" in headers
      api = self.gemini_batch if google else self.batch_api
      return api(send, method, path, body)
    gemini = ":generateContent" in path
    asked = json.loads(body)
    name = hashlib.sha256(body).hexdigest()[:16]
    self.asked[name] += 1
    self.times.append(asyncio.get_running_loop().time())
    fault = self.fault()
    self.now += 1
    self.most = max(self.most, self.now)
    if self.now >= self.together:
      self.met.set()
    try:
      with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(self.met.wait(), 10)
      await asyncio.sleep(3600 if fault == "hang" else self.latency)
    finally:
      self.now -= 1
    if fault in ("429", "429_after", "500", "400"):
      more = ""
      if fault == "429_after":
        more = f"Retry-After: {self.retry_after}\r\n"
      status = int(fault[:3])
      told = {"code": status, "message": f"no, {key}", "status": "X"}
      return send(status, {"error": told}, more)
    self.replied[name] += 1
    reply = (gemini_reply if gemini else chat_reply)(
        fault, self.text(fault, asked, gemini)
    )
    reply = self.told(reply)
    if fault == "truncated":
      return send(200, reply, cut=len(json.dumps(reply)) // 2)
    return send(200, reply)

  def told(self, reply):
    if self.tells_usage:
      return reply
    return {k: v for k, v in reply.items() if not k.startswith("usage")}

  def fault(self):
    if self.always:
      found = self.always.pop(0)
    else:
      draw, found = self.rng.random(), ""
      for fault, share in self.faults.items():
        draw -= share
        if draw < 0:
          found = fault
          break
    if found:
      self.faulted[found] += 1
    return found

  def text(self, fault, asked, gemini):
    if fault == "empty_text":
      return ""
    if fault == "wrong_language":
      return _NATIVE
    if gemini:
      system = asked.get("systemInstruction", {"parts": [{"text": ""}]})
      system = system["parts"][0]["text"]
      user = asked["contents"][-1]["parts"][0]["text"]
    else:
      system = asked["messages"][0]["content"]
      user = asked["messages"][-1]["content"]
    return judge(system, user, self.taste)

  def batch_api(self, send, method, path, body):
    if method == "POST" and path == "/v1/files":
      name = f"file-{len(self.files)}"
      self.files[name] = body.split(b"\r\n\r\n")[-1].rsplit(b"\r\n--", 1)[0]
      return send(200, {"id": name})
    if path.startswith("/v1/files/"):
      return send(200, self.files[path.split("/")[3]])
    if method == "POST":
      asked = json.loads(body)
      name = f"batch-{len(self.batches)}"
      self.batches[name] = {
          "id": name, "status": "in_progress", "metadata": asked["metadata"],
          "input": asked["input_file_id"], "polls": self.batch_polls,
      }
      return send(200, self.batches[name])
    if path.startswith("/v1/batches?") or path == "/v1/batches":
      return send(200, {"data": list(self.batches.values())})
    batch = self.batches[path.split("/")[3]]
    batch["polls"] -= 1
    if batch["polls"] < 0 and batch["status"] == "in_progress":
      if self.batch_fails:
        self.batch_fails -= 1
        batch |= {"status": "failed", "errors": "the job was too large"}
      else:
        self.run_batch(batch)
    return send(200, batch)

  def gemini_batch(self, send, method, path, body):
    if method == "POST":
      asked = json.loads(body)["batch"]
      name = f"batches/{len(self.batches)}"
      self.batches[name] = {"name": name, "polls": self.batch_polls, "metadata":
          {"displayName": asked["displayName"], "state": "BATCH_STATE_PENDING"},
          "asked": asked["inputConfig"]["requests"]["requests"]}
    elif "?" in path or path.endswith("/batches"):
      return send(200, {"operations": [
          {k: v for k, v in job.items() if k in ("name", "metadata")}
          for job in self.batches.values()]})
    else:
      name = path.removeprefix("/v1/")
    job = self.batches[name]
    job["polls"] -= 1
    waits = job["metadata"]["state"] == "BATCH_STATE_PENDING"
    if job["polls"] < 0 and waits:
      if self.batch_fails:
        self.batch_fails -= 1
        job["metadata"]["state"] = "BATCH_STATE_FAILED"
        job["error"] = {"code": 3, "message": "the job was too large"}
      else:
        self.run_gemini(job)
    return send(200, {k: v for k, v in job.items() if k != "asked"})

  def run_gemini(self, job):
    rows = []
    for row in job["asked"]:
      key, fault = row["metadata"]["key"], self.fault()
      self.asked[key] += 1
      if fault in ("429", "500"):
        rows.append({"metadata": {"key": key},
                     "error": {"code": int(fault), "message": "no"}})
        continue
      self.replied[key] += 1
      reply = self.told(
          gemini_reply(fault, self.text(fault, row["request"], True))
      )
      rows.append({"metadata": {"key": key}, "response": reply})
    job["metadata"]["state"] = "BATCH_STATE_SUCCEEDED"
    job["metadata"]["output"] = {"inlinedResponses": {"inlinedResponses": rows}}

  def run_batch(self, batch):
    good, bad = [], []
    for line in self.files[batch["input"]].splitlines():
      row = json.loads(line)
      self.asked[row["custom_id"]] += 1
      fault = self.fault()
      if fault in ("429", "500"):
        bad.append({"custom_id": row["custom_id"], "response": {
            "status_code": int(fault), "body": {"error": {"message": "no"}}}})
        continue
      reply = self.told(
          chat_reply(fault, self.text(fault, row["body"], False))
      )
      self.replied[row["custom_id"]] += 1
      good.append({"custom_id": row["custom_id"], "error": None, "response": {
          "status_code": 200, "body": reply}})
    batch["status"] = "completed"
    for name, rows in (("output_file_id", good), ("error_file_id", bad)):
      if rows:
        batch[name] = f"file-{len(self.files)}"
        self.files[batch[name]] = b"".join(
            json.dumps(row).encode() + b"\n" for row in rows
        )


def judge(system, user, taste):
  """What a language model might say."""
  text = {
      place: text.strip()
      for place, text in re.findall(
          r"<judge:(\w+)>\n(.*?)\n</judge:\1>", user, re.DOTALL
      )
  }
  a = text.get("answer_a", text.get("answer_a_2", text.get("answer", "")))
  b = text.get("answer_b", text.get("answer_b_2", ""))

  def worth(answer):
    return len(answer) if taste == "longer" else "good" in answer

  if "[[A]]" in system:
    verdict = "C" if worth(a) == worth(b) else "BA"[worth(a) > worth(b)]
    verdict = "A" if taste == "first" else verdict
  elif "[[YES]]" in system:
    verdict = "YES" if "good" in a else "NO"
  elif re.search(r"\[\[\d+, \d+\]\]", system):
    verdict = f"{1 + min(9, len(a))}, {1 + min(9, len(b))}"
  else:
    verdict = 1 + len(a) % 3
  quoted = f"\n> {a}\n> {b}\n{a}" if taste == "good" else ""
  return f"I have weighed it.\n[[{verdict}]]{quoted}"


def chat_reply(fault, text):
  message = {"role": "assistant", "content": text}
  reason = "length" if fault == "cut" else "stop"
  if fault == "refusal":
    message = {"role": "assistant", "content": None, "refusal": "I will not."}
  choices = [{"index": 0, "message": message, "finish_reason": reason}]
  return {
      "id": "x", "object": "chat.completion", "model": "judge-of-today",
      "choices": [] if fault == "empty_choice" else choices,
      "usage": {"prompt_tokens": 100, "completion_tokens": 10},
  }


def gemini_reply(fault, text):
  reason = {"refusal": "SAFETY", "cut": "MAX_TOKENS"}.get(fault, "STOP")
  candidate = {
      "content": {"role": "model", "parts": [{"text": text}]},
      "finishReason": reason, "index": 0,
  }
  if fault == "refusal":
    del candidate["content"]
  return {
      "candidates": [] if fault == "empty_choice" else [candidate],
      "usageMetadata": {
          "promptTokenCount": 100, "candidatesTokenCount": 8,
          "thoughtsTokenCount": 2, "totalTokenCount": 110,
      },
      "modelVersion": "judge-of-today",
  }


async def _main():
  server = await asyncio.start_server(Server().connection, "127.0.0.1", 0)
  print(server.sockets[0].getsockname()[1], flush=True)
  async with server:
    await server.serve_forever()


if __name__ == "__main__":
  try:
    asyncio.run(_main())
  except KeyboardInterrupt:
    sys.exit(0)
