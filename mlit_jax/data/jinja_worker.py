"""Renders chat templates: a process of its own, started by its path.

A template is a program that came with a checkpoint. It runs in Jinja's
immutable sandbox, here, where time and memory have limits that no template can
get around, the environment holds no secrets, and nothing but text goes out.

Lines of JSON come in and go out: first the template and the limits, then a
conversation for each rendering.
"""

import datetime
import json
import resource
import signal
import sys

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError


class _Environment(ImmutableSandboxedEnvironment):
  """The sandbox; what is forbidden is an error at once, not an empty text."""

  def unsafe_undefined(self, obj, attribute):
    raise SecurityError(
        f"access to attribute {attribute!r} of a {type(obj).__name__} is"
        " forbidden"
    )


class _Generation(Extension):
  """{% generation %} … {% endgeneration %}: what the assistant says.

  Its end is marked in the output, by a character that occurs nowhere else.
  """

  tags = frozenset({"generation"})
  mark = ""

  def parse(self, parser):
    line = next(parser.stream).lineno
    body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
    call = self.call_method("_mark")
    return nodes.CallBlock(call, [], [], body).set_lineno(line)

  def _mark(self, caller):
    return caller() + self.mark


def _to_json(
    value, ensure_ascii=False, indent=None, separators=None, sort_keys=False
):
  # Jinja's own filter escapes HTML.
  return json.dumps(
      value, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
      sort_keys=sort_keys,
  )


def _fail(message):
  raise jinja2.TemplateError(message)


def _compile(request):
  environment = _Environment(
      trim_blocks=True, lstrip_blocks=True,
      extensions=[_Generation, "jinja2.ext.loopcontrols"],
  )
  now = request["now"]

  def strftime_now(form):
    clock = datetime.datetime
    return (clock.fromisoformat(now) if now else clock.now()).strftime(form)

  environment.filters["tojson"] = _to_json
  environment.globals |= {
      "raise_exception": _fail, "strftime_now": strftime_now,
  }
  _Generation.mark = request["mark"]
  return environment.from_string(request["template"])


def _render(template, values, max_chars):
  size, parts = 0, []
  for part in template.generate(values):
    size += len(part)
    if size > max_chars:
      raise jinja2.TemplateError(f"more than {max_chars} characters come out")
    parts.append(part)
  return "".join(parts)


def _answer(request, state):
  """{"text": …}, or {"error": one line}."""
  try:
    if state.get("template") is None:
      state["template"] = _compile(request)
      state["max_chars"] = request["max_chars"]
      return {"text": ""}
    return {"text": _render(state["template"], request, state["max_chars"])}
  except MemoryError:
    return {"error": "it needs too much memory"}
  except RecursionError:
    return {"error": "it calls itself without end"}
  except jinja2.TemplateSyntaxError as e:
    return {"error": f"line {e.lineno}: {e.message}"}
  except Exception as e:  # whatever a template may do wrong
    name = "" if isinstance(e, jinja2.TemplateError) else type(e).__name__
    return {"error": f"{name} {e}".strip() or type(e).__name__}


def main():
  first = sys.stdin.readline()
  limits = json.loads(first)
  memory = limits["max_bytes"]
  resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
  resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
  state, line = {}, first
  while line:
    # The alarm is left to its default: it ends the process, whatever runs.
    signal.setitimer(signal.ITIMER_REAL, limits["seconds"])
    answer = json.dumps(_answer(json.loads(line), state))
    signal.setitimer(signal.ITIMER_REAL, 0)
    sys.stdout.write(answer + "\n")
    sys.stdout.flush()
    line = sys.stdin.readline()


if __name__ == "__main__":
  main()
