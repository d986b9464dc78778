"""Templates to pages: one style, one script, nothing loaded, nothing run."""

import base64
import hashlib
from importlib import resources

import jinja2
import markupsafe

FORMATS = ("png", "pdf", "svg")
_SCRIPTS = ("figures.js", "browser.js", "page.js")


def render(template: str, **values) -> str:
  """A template of this folder with its values; every text is escaped."""
  environment = jinja2.Environment(
      loader=jinja2.FunctionLoader(_file),
      autoescape=True,
      undefined=jinja2.StrictUndefined,
      trim_blocks=True,
      lstrip_blocks=True,
  )
  script = '"use strict";\n' + "".join(_file(name) for name in _SCRIPTS)
  return environment.get_template(template).render(
      style=markupsafe.Markup(_file("style.css")),
      script=markupsafe.Markup(script),
      script_hash=_hash(script),
      **values,
  )


def _hash(script: str) -> str:
  """What the page's security policy knows its one script by."""
  digest = hashlib.sha256(script.encode("utf-8")).digest()
  return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _file(name: str) -> str:
  return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
