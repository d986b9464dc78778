"""A sheet as one HTML page: opens from a disk and loads nothing."""

import base64
import dataclasses
import hashlib
import json
from importlib import resources

import jinja2
import markupsafe

from mlit_jax import languages
from mlit_jax.judging import ratings, sheets


def render(sheet: sheets.Sheet) -> str:
  """The page. Every text of the sheet is data to its one script."""
  environment = jinja2.Environment(
      loader=jinja2.FunctionLoader(_file), autoescape=True,
      undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
  )
  script = _file("page.js")
  digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
  data = json.dumps(
      {
          "format": ratings.FORMAT, "sheet": sheet.name, "lang": sheet.lang,
          "items": sheet.items,
          "choices": [dataclasses.asdict(c) for c in sheet.choices],
      },
      ensure_ascii=False, separators=(",", ":"),
  )
  return environment.get_template("page.html").render(
      sheet=sheet,
      language=_name(sheet.lang),
      style=markupsafe.Markup(_file("page.css")),
      script=markupsafe.Markup(script),
      script_hash=f"sha256-{digest}",
      # Nothing in it may end the element it stands in.
      data=markupsafe.Markup(data.replace("<", "\\u003c")),
  )


def _name(lang: str) -> str:
  try:
    return languages.get(lang).name
  except languages.UnknownLanguageError:
    return lang


def _file(name: str) -> str:
  folder = resources.files("mlit_jax.judging") / "sheet"
  return (folder / name).read_text(encoding="utf-8")
