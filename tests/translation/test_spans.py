"""Protected spans: what is found, carried over and put back."""

import time

import pytest

from mlit_jax.translation import segments, spans


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("run `ls -l` now", ["`ls -l`"]),
        ("a ``b ` c`` d", ["``b ` c``"]),
        ("see https://a.org/x(y)_z?q=1#f.", ["https://a.org/x(y)_z?q=1#f"]),
        ("(http://a.org/b), www.b.co.uk/c!", ["http://a.org/b",
                                              "www.b.co.uk/c"]),
        ("请看https://a.org/b。好", ["https://a.org/b"]),
        ("write to a.b+c@d-e.org.", ["a.b+c@d-e.org"]),
        ("写信给a@b.cn，长5 km的", ["a@b.cn", "5 km"]),
        ("$x^2$ or \\(y\\) or $$z$$", ["$x^2$", "\\(y\\)", "$$z$$"]),
        ("between $5 and $6", []),
        ("\\textbf{so} \\begin{a}b\\end{a}", ["\\textbf{so}",
                                            "\\begin{a}b\\end{a}"]),
        ("<b>so</b> a < b > c <br/>", ["<b>", "</b>", "<br/>"]),
        ("R&amp;D AT&T &#39;", ["&amp;", "&#39;"]),
        ("{name} {0} {} {x:.2f} {{y}} ${z} %(n)s %s %2$d", [
            "{name}", "{0}", "{}", "{x:.2f}", "{{y}}", "${z}", "%(n)s", "%s",
            "%2$d"]),
        ("100% sure, {a, b}", ["100%"]),
        ("5 km, 1,000.5 kg, -3 °C, 7%, $3 MB, 12 GB", [
            "5 km", "1,000.5 kg", "-3 °C", "7%", "$3 MB", "12 GB"]),
        ("in the 1990s 5m people saw 3 ghosts", []),
        ("5 m tall, 80 g", ["5 m", "80 g"]),
        ("as in [1] and [[2]]", ["[1]", "[[2]]"]),
        ("plain text, nothing more.", []),
    ],
)
def test_what_is_protected(text, found):
  assert spans.find(text) == found
  protected = spans.protect(text)
  assert spans.restore(protected.text, protected.spans) == text
  assert spans.marker_numbers(protected.text) == list(
      range(len(protected.spans))
  )


def test_neighbours_share_a_marker():
  protected = spans.protect("<b><i>so</i></b>")
  assert protected == spans.Protected("[[0]]so[[1]]", ("<b><i>", "</i></b>"))


@pytest.mark.parametrize(
    "reply",
    ["[[1]] לפני [[0]]", "[[ 1 ]] לפני [[ 0]]", "【1】 לפני [0]",
     "［［１］］ לפני ⟦0⟧", "[[١]] לפני [[٠]]"],
)
def test_markers_are_found_however_they_come_back(reply):
  assert spans.restore(reply, ("{a}", "`b`")) == "`b` לפני {a}"


def test_a_marker_of_nothing_stays():
  assert spans.restore("x [[7]]", ("{a}",)) == "x [[7]]"


def test_a_split_text_joins_to_the_whole():
  text = "".join(
      f"Sentence {n} with {{x{n}}} and `code {n}`. " for n in range(40)
  ) + "y" * 300 + "{end}"
  parts = spans.split(spans.protect(text), 100)
  assert max(len(p.text) for p in parts) <= 100
  assert len(parts) > 10
  assert "".join(spans.restore(p.text, p.spans) for p in parts) == text
  for part in parts:
    assert spans.marker_numbers(part.text) == list(range(len(part.spans)))
  # At the end of a sentence where there is one.
  assert parts[0].text.endswith(". ")


def test_a_cut_never_goes_through_a_marker():
  text = "z" * 98 + "{abc}" + "z" * 50
  parts = spans.split(spans.protect(text), 100)
  assert [p.text for p in parts] == ["z" * 98, "[[0]]" + "z" * 50]


def test_blocks_and_margins_are_kept_and_never_sent():
  text = (
      "  Use this:\n\n```python\nprint('Hello')  # Hello\n```\n"
      "where $$\nE = mc^2\n$$\nholds.\n\n42 %\n~~~\nopen to the end"
  )
  parsed = segments.parse(text, 1000)
  assert [s.text for s in parsed.segments] == ["Use this:",
                                               "where [[0]]\nholds.\n\n[[1]]"]
  assert parsed.translated(lambda s: s.text) == text
  assert parsed.translated(lambda s: s.text.upper()) == text.replace(
      "Use this:", "USE THIS:"
  ).replace("where", "WHERE").replace("holds", "HOLDS")


@pytest.mark.parametrize("text", ["", "  \n", "42", "`x = 1`", "{a} - [1]"])
def test_what_has_no_words_is_not_sent(text):
  parsed = segments.parse(text, 1000)
  assert parsed.segments == ()
  assert parsed.translated(None) == text


@pytest.mark.parametrize(
    "unit",
    ["<!--", "```\n", "```", "\\[", "\\[\n", "$$\n", "\\begin{a}\n", "1.1",
     "$a ", "<a ", "{{a", "http://", "(", "%(", "`", "[[ ", " ", "\\a{b}",
     "a.a@", "a@a."],
)
def test_hostile_text_takes_no_more_than_linear_time(unit):
  text = unit * (50_000 // len(unit))
  began = time.process_time()
  parsed = segments.parse(text, 30_000)
  assert time.process_time() - began < 2
  assert parsed.translated(lambda s: s.text) == text
