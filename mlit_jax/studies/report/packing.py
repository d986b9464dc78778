"""Data inside a page: compressed, so that a page of many answers stays small.

A block is the content of a <script> element that no browser runs. script.js
unpacks a block when it is first looked at.
"""

import base64
import json
import zlib
from typing import Any

import markupsafe

_LEVEL = 9


def pack(value: Any) -> markupsafe.Markup:
  """JSON, deflated, in base64: no character of it means anything to HTML."""
  text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
  packed = zlib.compress(text.encode("utf-8"), _LEVEL)
  # The alphabet without "/": nothing in a page can look like an address.
  return markupsafe.Markup(base64.urlsafe_b64encode(packed).decode("ascii"))


def unpack(text: str) -> Any:
  """What was packed."""
  return json.loads(zlib.decompress(base64.urlsafe_b64decode(text)))


def embed(value: Any) -> markupsafe.Markup:
  """JSON as it is.

  Without a "<" nothing in it can end the element or open a comment, whatever
  a model wrote.
  """
  text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
  return markupsafe.Markup(text.replace("<", "\\u003c"))
