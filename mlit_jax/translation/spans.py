"""Spans that no translation may change: code, URLs, LaTeX, tags, units.

`protect` replaces each by a marker `[[0]]`, `[[1]]`, … that the service is to
carry over; `restore` puts them back, also where the service has changed the
marker's brackets, spaces or digits. `find` lists the spans of a text, so that
a finished translation can be checked whatever way it was made.
"""

import dataclasses
import re
import unicodedata

# In the order of precedence where two begin at the same place. What may
# be long cannot hold its own opening, so that hostile text costs linear time.
_PATTERNS = (
    # What looks like a marker already (a citation, too) is protected itself.
    ("marker", r"[\[［【⟦〚]{1,2}\s*\d{1,4}\s*[\]］】⟧〛]{1,2}"),
    ("code", r"```.{1,20000}?```|``(?:(?!``)[^\n]){1,2000}?``|`[^`\n]+`"),
    (
        "placeholder",
        r"\{\{[^{}\n]+\}\}|\$\{\w+\}|\{[A-Za-z_][\w.]*(?:[:!][^{}\s]*)?\}"
        r"|\{\d*\}|%\(\w+\)[sdifrxg]|%\d+\$[sdif]"
        r"|(?<![\w%])%[sdifr](?!\w)",
    ),
    (
        "latex",
        r"\$\$.{1,5000}?\$\$"
        r"|\\\[(?:(?!\\\[).){1,5000}?\\\]|\\\((?:(?!\\\().){1,2000}?\\\)"
        r"|\\begin\{(?P<env>[a-zA-Z]+\*?)\}(?:(?!\\begin).){0,5000}?"
        r"\\end\{(?P=env)\}"
        # As in pandoc: no space inside the dollars, no digit behind them.
        r"|(?<![\\\w$])\$(?=[^\s$])[^$\n]*?(?<![\s\\])\$(?![\d$])"
        r"|\\[a-zA-Z]+(?:\{[^{}\n]*\})+",
    ),
    (
        "html",
        r"<!--(?:(?!<!--).){0,2000}?-->"
        r"|</?[a-zA-Z][\w:-]*(?:\s[^<>]*)?/?>",
    ),
    ("entity", r"&(?:[a-zA-Z]\w{1,30}|#\d{1,7}|#[xX][0-9a-fA-F]{1,6});"),
    (
        "email",
        r"(?<![A-Za-z0-9.+-])[A-Za-z0-9._+-]+"
        r"@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+",
    ),
    (
        "url",
        r"(?<![A-Za-z])(?:https?|ftp)://(?:[^\s<>()\"'`，。、）】]|\([^\s()]*\))*"
        r"(?:[^\s<>()\"'`，。、）】.,;:!?*_]|\([^\s()]*\))"
        r"|(?<![A-Za-z.])www\.[\w-]+(?:\.[\w-]+)+(?:/[\w./?%&=~#+-]*[\w/=#])?",
    ),
    (
        "unit",
        r"(?<![A-Za-z0-9_.,])(?:[€£¥₹$]\s?)?[-+−]?\d+(?:[.,\u00a0\u202f]\d+)*"
        r"(?:\s?(?:%|‰|°[CF]?|€|£|¥|₹|µm|μm|nm|mm|cm|dm|km²|km/h|km|m²|m³|m/s"
        r"|kg|mg|µg|μg|mL|ml|dl|cl|Hz|kHz|MHz|GHz|THz|kW|MW|GW|kWh|mV|kV|mA"
        r"|kJ|kcal|Pa|hPa|kPa|MPa|kB|KB|MB|GB|TB|PB|KiB|MiB|GiB|Mbps|Gbps|bps"
        r"|mph|rpm|dB|px|dpi|ppm|ft|lb|lbs|oz|ms|µs|ns|eV|keV|MeV|mol)"
        # One letter alone: 1990s and 5m people are none.
        r"|[ \u00a0\u202f](?:[mgLlsWVJN]|K))(?![A-Za-z0-9°])",
    ),
)
_SPAN = re.compile(
    "|".join(f"(?P<{name}>{pattern})" for name, pattern in _PATTERNS),
    re.DOTALL,
)
# A marker as it may come back: other brackets, spaces, another script's digits.
_RETURNED = re.compile(
    r"[\[［【⟦〚「]{1,2}\s*(\d{1,4})\s*[\]］】⟧〛」]{1,2}"
)
_MARKER = re.compile(r"\[\[(\d{1,4})\]\]")


@dataclasses.dataclass(frozen=True)
class Protected:
  """A text with markers in place of its spans.

  Attributes:
    text: with markers, numbered from 0 in their order.
    spans: what the markers stand for.
  """

  text: str
  spans: tuple[str, ...]


def find(text: str) -> list[str]:
  """The protected spans of a text, in their order."""
  return [match.group() for match in _SPAN.finditer(text)]


def protect(text: str) -> Protected:
  """Replaces protected spans by markers; neighbours share one."""
  spans: list[str] = []
  pieces: list[str] = []
  end = -1
  position = 0
  for match in _SPAN.finditer(text):
    if match.start() == end:
      spans[-1] += match.group()
    else:
      pieces.append(f"{text[position : match.start()]}[[{len(spans)}]]")
      spans.append(match.group())
    position = end = match.end()
  return Protected("".join(pieces) + text[position:], tuple(spans))


def restore(text: str, spans: tuple[str, ...]) -> str:
  """Puts the spans back; a marker that names none of them stays as it is."""

  def one(match: re.Match) -> str:
    number = marker_number(match)
    return spans[number] if number < len(spans) else match.group()

  return _RETURNED.sub(one, text)


def split(protected: Protected, max_characters: int) -> list[Protected]:
  """Cuts a long text at paragraphs, lines, sentences or words.

  Joining the parts' texts with their spans restored gives the whole again.
  """
  parts = []
  for text in _cut(protected.text, max_characters):
    numbers = [int(n) for n in _MARKER.findall(text)]
    new = iter(range(len(numbers)))
    text = _MARKER.sub(lambda _, new=new: f"[[{next(new)}]]", text)
    parts.append(
        Protected(text, tuple(protected.spans[n] for n in numbers))
    )
  return parts


def strip_markers(text: str) -> str:
  """The text without its markers."""
  return _RETURNED.sub(" ", text)


def marker_numbers(text: str) -> list[int]:
  """The numbers of the markers that came back, sorted."""
  return sorted(marker_number(m) for m in _RETURNED.finditer(text))


def marker_number(match: re.Match) -> int:
  """Reads the digits of any script."""
  digits = (str(unicodedata.digit(char)) for char in match.group(1))
  return int("".join(digits))


# From the best place to cut to the worst; the separator stays before the cut.
_CUTS = tuple(
    re.compile(pattern)
    for pattern in (r"\n\s*\n", r"\n", r"[.!?؟۔।](?=\s)\s|[。！？]", r"\s")
)


def _cut(text: str, size: int) -> list[str]:
  pieces = []
  while len(text) > size:
    window = text[:size]
    ends = (
        [m.end() for m in pattern.finditer(window)] for pattern in _CUTS
    )
    # Not right at the beginning: a cut must get on.
    place = next((e[-1] for e in ends if e and e[-1] > size // 4), size)
    if place == size:
      # Never through a marker.
      for match in _MARKER.finditer(text):
        if match.start() < place < match.end() and match.start() > 0:
          place = match.start()
    pieces.append(text[:place])
    text = text[place:]
  return [*pieces, text]
