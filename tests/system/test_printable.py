from __future__ import annotations

import sys
import unicodedata

import pytest

from clsbench.system.printable import printable, wrapped

# Format characters that have a shape, such as the Arabic number signs.
_VISIBLE_FORMATS = {
    *(0x600, 0x601, 0x602, 0x603, 0x604, 0x605, 0x6DD, 0x70F, 0x890, 0x891, 0x8E2),
    *(0x110BD, 0x110CD),
    *range(0x13430, 0x13440),
}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("win \x1b[31mred\x1b[0m", r"win \x1b[31mred\x1b[0m"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\nb\tc\rd", r"a\nb\tc\rd"),
        ("\x7f \x85 \x9b", r"\x7f \u0085 \u009b"),
        ("abc\u202etxt", r"abc\u202etxt"),
        ("\u2066x\u2069", r"\u2066x\u2069"),
        ("ham\u200b", r"ham\u200b"),
        ("\ufeffham", r"\ufeffham"),
        ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
        ("\ud83d \udcff", r"\ud83d \udcff"),
        ("\U000e0041", r"\U000e0041"),
        ("\u3164", r"\u3164"),
    ],
)
def test_printable_hidden_character_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain",
        "Größe",
        "垃圾邮件",
        "رسالة",
        "ελ",
        "❤️ 👍🏽",
        "e\u0301",
        "a\u00a0b\u3000c",
        "\\x1b",
        "\ue0b0",
    ],
)
def test_printable_visible_text_is_unchanged(text: str) -> None:
    assert printable(text) == text


def test_printable_kept_character_is_unchanged() -> None:
    assert printable("a\n\tb\x1b", keep="\n\t") == "a\n\tb\\x1b"


def test_printable_every_control_and_format_character_is_escaped() -> None:
    hidden = [
        code
        for code in range(sys.maxunicode + 1)
        if unicodedata.category(chr(code)) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        and code not in _VISIBLE_FORMATS
    ]
    assert [code for code in hidden if printable(chr(code)) == chr(code)] == []


def test_printable_every_letter_number_mark_and_symbol_is_unchanged() -> None:
    shapeless = {0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0}
    visible = "".join(
        chr(code)
        for code in range(sys.maxunicode + 1)
        if unicodedata.category(chr(code))[0] in "LMNPS" and code not in shapeless
    )
    assert printable(visible) == visible


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("accuracy is 95.67 % of all", ["accuracy is", "95.67 % of all"]),
        ("it took 12 min 30 s in all", ["it took 12 min", "30 s in all"]),
        ("see /a/very/long/path/to/a/file now", ["see", "/a/very/long/path/to/a/file", "now"]),
        ("  indented words stay so", ["  indented", "  words stay so"]),
        ("one\n\ntwo", ["one", "", "two"]),
        ("well-known last-blocks", ["well-known", "last-blocks"]),
    ],
)
def test_wrapped_lines_break_between_words_only(text: str, lines: list[str]) -> None:
    assert wrapped(text, 15).split("\n") == lines
