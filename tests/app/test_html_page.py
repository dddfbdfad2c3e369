"""The parts of a report's page."""

from __future__ import annotations

from app.html_page import drawing, heading, page, paragraph, reason_row, table, table_row


def test_texts_are_escaped() -> None:
    text = page(
        "a < b",
        heading("c & d"),
        paragraph("<script>"),
        table(("<x>",), [table_row(("<y>",)), reason_row("z", "1 < 2", 3)]),
    )
    for part in ("a &lt; b", "c &amp; d", "&lt;script&gt;", "&lt;x&gt;", "&lt;y&gt;", "1 &lt; 2"):
        assert part in text
    assert "<script>" not in text
    assert text.startswith("<!doctype html>")


def test_a_row_in_front() -> None:
    assert table_row(("a", "b"), in_front=True) == '<tr class="front"><td>a</td><td>b</td></tr>'
    assert table_row(("a",)) == "<tr><td>a</td></tr>"


def test_a_drawing_is_an_inline_svg_that_needs_nothing_else() -> None:
    drawn = drawing(4, 3, lambda figure: figure.subplots().set_title("a title"))
    assert drawn.startswith("<svg")
    assert "a title" in drawn
    assert "DOCTYPE" not in drawn
