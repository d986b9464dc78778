"""OpenAI-compatible models, against a real local HTTP server."""

import asyncio
import http.server
import json
import logging
import threading

import pytest

from mlit_jax import cache, main, pacing
from mlit_jax.translation import backends, chat, translator

KEY = "sk-very-secret-123"


class Server(http.server.ThreadingHTTPServer):
  """Upper-cases; `faults(number)` gives (status, headers, body) instead."""

  daemon_threads = True

  def __init__(self, faults=lambda number: None):
    super().__init__(("localhost", 0), _Handler)
    self.faults, self.bodies, self.keys = faults, [], set()
    self.url = f"http://localhost:{self.server_port}/v1"

  def __enter__(self):
    threading.Thread(target=self.serve_forever, args=(0.01,)).start()
    return self

  def __exit__(self, *exception):
    self.shutdown()
    self.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
  protocol_version = "HTTP/1.1"

  def do_POST(self):
    body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
    number = len(self.server.bodies)
    self.server.bodies.append((self.path, body))
    self.server.keys.add(self.headers["Authorization"])
    text = body["messages"][-1]["content"]
    fault = self.server.faults(number)
    status, headers, reply = fault or (200, {}, _reply(text.upper()))
    data = reply.encode()
    self.send_response(status)
    for name, value in headers.items():
      self.send_header(name, value)
    self.send_header("Content-Length", str(len(data)))
    self.end_headers()
    self.wfile.write(data)

  def log_message(self, *args):
    pass


def _reply(content, finish="stop"):
  return json.dumps({"choices": [
      {"message": {"content": content}, "finish_reason": finish}
  ]})


def _run(server, texts, tmp_path, **options):
  backend = chat.Chat("m", server.url, **options)
  settings = translator.Settings(
      backoff=pacing.Backoff(attempts=4, base=0.01, seed=0)
  )
  jobs = [
      translator.Job(t, "en", "he", translator.key(backend, t, "en", "he"))
      for t in texts
  ]
  with cache.Cache(tmp_path / "c") as store:
    outcome = asyncio.run(
        translator.Translator(backend, store, settings).run(jobs)
    )
    return outcome, [(store.get(j.key) or {}).get("text") for j in jobs]


def test_a_text_is_a_request_with_a_prompt_around_it(tmp_path):
  with Server() as server:
    outcome, found = _run(server, ["one {target_name}", "two"], tmp_path)
    (path, body), _ = server.bodies
    assert server.keys == {None}
  assert sorted(found) == ["ONE {TARGET_NAME}", "TWO"]
  assert outcome.requests == 2
  assert path == "/v1/chat/completions"
  assert (body["model"], body["temperature"]) == ("m", 0)
  system, user = body["messages"]
  assert "from English into Hebrew" in system["content"]
  assert "{" not in system["content"]
  assert user["role"] == "user"


@pytest.mark.parametrize(
    "fault",
    [
        (429, {"Retry-After": "0.2"}, "slow down"), (500, {}, "oops"),
        (503, {"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}, ""),
        (200, {}, '{"choices": [{"mess'), (200, {}, '{"choices": []}'),
        (200, {}, _reply(None)), (200, {}, _reply("  ")),
        (200, {}, _reply("half", "length")), (200, {}, "[]"),
    ],
)
def test_one_fault_costs_a_repeat(tmp_path, fault):
  with Server(lambda number: fault if number == 0 else None) as server:
    outcome, found = _run(server, ["word"], tmp_path)
  assert found == ["WORD"]
  assert outcome.requests == 2


def test_a_reply_that_stays_unusable_fails_its_segment_alone(tmp_path):
  cut = (200, {}, _reply("half", "length"))
  with Server(lambda number: cut if number < 4 else None) as server:
    backend_first = _run(server, ["long"], tmp_path)
    outcome, found = backend_first
    assert found == [None] and len(outcome.failed) == 1
    assert _run(server, ["long"], tmp_path)[1] == ["LONG"]


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "is the key right"), (404, "refuses"), (301, "refuses")],
)
def test_errors_stop_the_run_and_never_tell_the_key(
    tmp_path, monkeypatch, status, words
):
  monkeypatch.setenv("OPENAI_API_KEY", KEY)
  fault = (status, {}, f"wrong key Bearer {KEY}!\nGo away")
  with Server(lambda number: fault) as server:
    with pytest.raises(backends.BackendError, match=words) as error:
      _run(server, ["word"], tmp_path)
    assert server.keys == {f"Bearer {KEY}"}
  assert KEY not in str(error.value) and "***" in str(error.value)


def test_no_connection_is_told(tmp_path):
  with Server() as server:
    pass
  with pytest.raises(backends.BackendError, match="no connection"):
    _run(server, ["word"], tmp_path)


def test_the_key_is_in_no_file_log_or_output(
    tmp_path, monkeypatch, capsys, caplog
):
  caplog.set_level(logging.DEBUG)
  monkeypatch.setenv("MLIT_REPLIES", str(tmp_path / "replies"))
  (tmp_path / "key").write_text(KEY + "\n")
  row = {"id": "a", "lang": "en", "prompt": "some words", "response": "more"}
  (tmp_path / "in.jsonl").write_text(json.dumps(row) + "\n")
  faults = [(429, {}, KEY), (400, {}, f"bad {KEY}")]
  with Server(lambda n: faults[n] if n < len(faults) else None) as server:
    code = main.main([
        "translate", str(tmp_path / "in.jsonl"), "--to", "he",
        "--output", str(tmp_path / "out.jsonl"), "--concurrency", "1",
        "--backend", f"openai:m@{server.url}",
        "--key_file", str(tmp_path / "key"),
    ])
    assert server.keys == {f"Bearer {KEY}"}
  assert code == 1  # the text that was refused
  captured = capsys.readouterr()
  (tmp_path / "key").unlink()
  files = [p for p in tmp_path.rglob("*") if p.is_file()]
  assert {p.name for p in files} > {"translations.jsonl", "out.failed.jsonl"}
  seen = captured.out + captured.err + caplog.text
  assert "sk-" not in seen + "".join(p.read_text() for p in files)
