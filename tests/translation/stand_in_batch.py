"""The stand-in with batchTranslateText, and a local Cloud Storage."""

import csv
import http.server
import io
import json
import threading
import urllib.parse

import grpc
import stand_in
from google.cloud import translate_v3
from google.longrunning import operations_pb2


class Storage(http.server.ThreadingHTTPServer):
  """The three calls of the JSON API that reading and writing need.

  Attributes:
    objects: gs://bucket/name -> bytes.
  """

  daemon_threads = True

  def __init__(self):
    super().__init__(("localhost", 0), _Handler)
    self.objects = {}
    self.url = f"http://localhost:{self.server_port}"

  def __enter__(self):
    threading.Thread(target=self.serve_forever, args=(0.01,)).start()
    return self

  def __exit__(self, *exception):
    self.shutdown()
    self.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
  protocol_version = "HTTP/1.1"

  def _answer(self):
    data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
    path, _, query = self.path.partition("?")
    query = dict(urllib.parse.parse_qsl(query))
    _, _, path = path.partition("/b/")
    bucket, _, name = path.partition("/o")
    name = urllib.parse.unquote(name.removeprefix("/"))
    objects = self.server.objects
    if self.command == "POST":
      objects[f"gs://{bucket}/{query['name']}"] = data
      about = {"name": query["name"], "bucket": bucket, "generation": "1",
               "metageneration": "1", "size": str(len(data))}
      return 200, json.dumps(about).encode()
    if name:
      found = objects.get(f"gs://{bucket}/{name}")
      return (404, b"") if found is None else (200, found)
    first, last = query.get("startOffset", ""), query.get("endOffset")
    names = (url.removeprefix(f"gs://{bucket}/") for url in sorted(objects))
    items = [
        {"name": n, "generation": "1", "size": "1"}
        for n in names if n >= first and (last is None or n < last)
    ]
    return 200, json.dumps({"items": items}).encode()

  def do_GET(self):
    status, body = self._answer()
    self.send_response(status)
    self.send_header("x-goog-generation", "1")
    self.send_header("Content-Length", str(len(body)))
    self.end_headers()
    self.wfile.write(body)

  do_POST = do_GET

  def log_message(self, *args):
    pass


class BatchStandIn(stand_in.StandIn):
  """Translates files in the storage; a job is done after so many polls.

  Attributes:
    batches: the requests that were accepted.
    polls: how often a job's state was asked for.
    bad: a text that contains this has an error instead of a reply.
    broken: jobs fail as a whole.
    before_reply: called when a job was accepted, before its name is told.
  """

  def __init__(self, storage, polls_needed=2, **options):
    self.storage, self.polls_needed = storage, polls_needed
    self.batches, self.polls = [], 0
    self.bad, self.broken = "\0", False
    self.before_reply = lambda: None
    super().__init__(**options)

  def _services(self):
    services = super()._services()
    serialize = operations_pb2.Operation.SerializeToString
    services[stand_in.SERVICE]["BatchTranslateText"] = (
        grpc.unary_unary_rpc_method_handler(
            self._batch, translate_v3.BatchTranslateTextRequest.deserialize,
            serialize,
        )
    )
    services["google.longrunning.Operations"] = {
        "GetOperation": grpc.unary_unary_rpc_method_handler(
            self._operation, operations_pb2.GetOperationRequest.FromString,
            serialize,
        )
    }
    return services

  def _batch(self, request, context):
    prefix = request.output_config.gcs_destination.output_uri_prefix
    taken = any(url.startswith(prefix) for url in self.storage.objects)
    in_use = any(
        prefix == b.output_config.gcs_destination.output_uri_prefix
        for b in self.batches
    )
    if taken or in_use or "/locations/global" in request.parent:
      context.abort(grpc.StatusCode.INVALID_ARGUMENT, "folder in use")
    self.batches.append(request)
    self.before_reply()
    name = f"{request.parent}/operations/{len(self.batches) - 1}"
    return operations_pb2.Operation(name=name)

  def _operation(self, request, context):
    self.polls += 1
    state = operations_pb2.Operation(name=request.name)
    if self.polls < self.polls_needed:
      return state
    state.done = True
    if self.broken:
      state.error.code, state.error.message = 13, "told to break"
      return state
    self.finish(int(request.name.rpartition("/")[2]))
    return state

  def finish(self, number):
    """Writes a job's files as Google documents them."""
    request = self.batches[number]
    prefix = request.output_config.gcs_destination.output_uri_prefix
    target, = request.target_language_codes
    source = request.input_configs[0].gcs_source.input_uri
    text = self.storage.objects[source].decode()
    good, bad = [], []
    # In another order than they came.
    for id_, content in list(csv.reader(io.StringIO(text, newline=""),
                                        delimiter="\t"))[::-1]:
      if self.bad in content:
        bad.append((id_, content, "cannot do this one"))
        good.append((id_, content, ""))
        continue
      reply = stand_in.translate(content, target)
      extra = [f"G {reply}"] if request.glossaries else []
      good.append((id_, content, reply, *extra))
      self.answered[target, content] += 1
    replies = f"{prefix}in_{target}_translations.tsv"
    errors = f"{prefix}in_{target}_errors.tsv" if bad else ""
    index = [(source, target, replies, errors, "", "")]
    files = {replies: (good, "\t"), f"{prefix}index.csv": (index, ",")}
    if bad:
      files[errors] = bad, "\t"
    for url, (rows, delimiter) in files.items():
      text = io.StringIO()
      writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
      writer.writerows(rows)
      self.storage.objects[url] = text.getvalue().encode()
