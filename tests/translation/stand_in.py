"""A local Cloud Translation that misbehaves on demand.

A real gRPC server that speaks google.cloud.translation.v3 with the messages of
Google's own client. It "translates" letter by letter, so a test can tell what
a reply should be, and counts what it answered.
"""

import collections
import concurrent.futures
import html
import re
import threading
import time

import grpc
from google.cloud import translate_v3

SERVICE = "google.cloud.translation.v3.TranslationService"
_ALPHABETS = {
    "ru": "абцдефгхийклмнопярстувшьыз",
    "he": "אבצדעפגהיךכלמנוסקרשתטוםסיז",
}
# Digits and markers stay.
_WORDS = re.compile(r"[a-z]")


def translate(text: str, target: str) -> str:
  """What the server makes of a text; into Latin script it turns cases."""
  alphabet = _ALPHABETS.get(target)
  if alphabet is None:
    return text.swapcase()
  return _WORDS.sub(lambda m: alphabet[ord(m.group()) - 97], text.lower())


class StandIn:
  """The server.

  Attributes:
    address: localhost:port.
    faults: called with (number of the request, request); what it returns is
      done instead: a grpc status name (`UNAVAILABLE`, with details behind a
      colon), `hang`, `half`, `swap`, `escape`, `empty`, or None.
    answered: (target, text) -> how often a right reply was sent.
    sizes: (segments, characters) of every request.
    requests: the last ones, newest first.
  """

  def __init__(self, faults=lambda number, request: None, seconds=0.0):
    self.faults, self.seconds = faults, seconds
    self.answered = collections.Counter()
    self.sizes, self.requests = [], collections.deque(maxlen=50)
    self.under_way = self.most_under_way = 0
    self._lock = threading.Lock()
    self._released = threading.Event()
    self._server = grpc.server(
        concurrent.futures.ThreadPoolExecutor(max_workers=32)
    )
    self._server.add_generic_rpc_handlers(tuple(
        grpc.method_handlers_generic_handler(service, methods)
        for service, methods in self._services().items()
    ))
    self.address = f"localhost:{self._server.add_insecure_port('localhost:0')}"

  def __enter__(self):
    self._server.start()
    return self

  def __exit__(self, *exception):
    self._released.set()
    self._server.stop(None).wait()

  def _services(self):
    return {
        SERVICE: {
            "TranslateText": grpc.unary_unary_rpc_method_handler(
                self._translate_text,
                translate_v3.TranslateTextRequest.deserialize,
                translate_v3.TranslateTextResponse.serialize,
            )
        }
    }

  def _translate_text(self, request, context):
    with self._lock:
      number = len(self.sizes)
      texts = list(request.contents)
      self.sizes.append((len(texts), sum(map(len, texts))))
      self.requests.appendleft(request)
      self.under_way += 1
      self.most_under_way = max(self.most_under_way, self.under_way)
      fault = self.faults(number, request)
    try:
      time.sleep(self.seconds)
      return self._reply(request, fault, context)
    finally:
      with self._lock:
        self.under_way -= 1

  def _reply(self, request, fault, context):
    if fault and fault.partition(":")[0] in grpc.StatusCode.__members__:
      name, _, details = fault.partition(":")
      context.abort(grpc.StatusCode[name], details or "told to fail")
    if fault == "hang":
      # Until the client gives up; a thread must not be lost for good.
      while context.is_active() and not self._released.wait(0.02):
        pass
      context.abort(grpc.StatusCode.CANCELLED, "was hanging")
    target = request.target_language_code
    texts = list(request.contents)
    replies = right = [translate(text, target) for text in texts]
    if fault == "half":
      replies = replies[: len(replies) // 2]
    elif fault == "swap":
      replies = replies[::-1]
    elif fault == "escape":
      replies = right = [html.escape(reply) for reply in replies]
    elif fault == "empty":
      texts, replies = texts[1:], ["", *replies[1:]]
      right = replies
    # One text alone cannot be swapped.
    if replies == right:
      with self._lock:
        self.answered.update((target, text) for text in texts)
    made = [translate_v3.Translation(translated_text=r) for r in replies]
    glossary = bool(request.glossary_config.glossary)
    return translate_v3.TranslateTextResponse(
        translations=made,
        glossary_translations=[
            translate_v3.Translation(translated_text=f"G {r}") for r in replies
        ] if glossary else [],
    )
