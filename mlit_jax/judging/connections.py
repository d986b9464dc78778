"""Many connections at a time without httpx's cost for many.

A pool of httpx looks through all its connections for every request, several
times: with 64 of them that takes 6 ms of a core, ten times the request. Here
every request under way has a pool of its own, with one connection, which the
next one takes over.
"""

import urllib.request

import httpx


class _Stream(httpx.AsyncByteStream):
  """A response's body that says when its connection is free."""

  def __init__(self, stream, free):
    self._stream, self._free = stream, free

  async def __aiter__(self):
    async for chunk in self._stream:
      yield chunk

  async def aclose(self) -> None:
    try:
      await self._stream.aclose()
    finally:
      self._free()


class Spread(httpx.AsyncBaseTransport):
  """A pool per request under way."""

  def __init__(self):
    self._context = httpx.create_ssl_context()
    self._all: list[httpx.AsyncHTTPTransport] = []
    self._idle: list[httpx.AsyncHTTPTransport] = []

  async def handle_async_request(
      self, request: httpx.Request
  ) -> httpx.Response:
    if not self._idle:
      limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
      pool = httpx.AsyncHTTPTransport(verify=self._context, limits=limits)
      self._all.append(pool)
      self._idle.append(pool)
    pool = self._idle.pop()
    try:
      response = await pool.handle_async_request(request)
    except BaseException:
      self._idle.append(pool)
      raise
    response.stream = _Stream(
        response.stream, lambda: self._idle.append(pool)
    )
    return response

  async def aclose(self) -> None:
    for pool in self._all:
      await pool.aclose()


def client(headers: dict[str, str] | None = None) -> httpx.AsyncClient:
  """A client that waits for ever (the caller has the clock)."""
  # Only httpx's own transport knows the environment's proxies.
  transport = None if urllib.request.getproxies() else Spread()
  limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
  return httpx.AsyncClient(
      headers=headers, timeout=None, transport=transport, limits=limits
  )


def sync_client(headers: dict[str, str] | None = None) -> httpx.Client:
  """A client for few calls, which may be large."""
  return httpx.Client(headers=headers, timeout=600)
