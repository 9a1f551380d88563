"""Habits of writing: abbreviations, capitals, full stops and slips of the thumb."""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random

from tools.stand_ins.expansion import chance, choose

_SHORTHAND = {
    "you": "u", "your": "ur", "are": "r", "to": "2", "for": "4", "please": "pls", "see": "c",
    "tomorrow": "tmr", "tonight": "2nite", "today": "2day", "and": "n", "because": "cos",
    "what": "wat", "with": "wiv", "thanks": "thx", "sorry": "soz", "text": "txt", "have": "hav",
    "message": "msg", "later": "l8r", "great": "gr8", "be": "b", "that": "dat", "the": "da",
    "people": "ppl", "before": "b4", "my": "me", "love": "luv", "going": "goin", "ok": "k",
    "about": "abt", "don't": "dont", "i'm": "im", "it's": "its", "can't": "cant", "good": "gud",
    "know": "kno", "just": "jus", "would": "wud", "at": "@", "weekend": "wkend", "why": "y",
    "phone": "fone", "birthday": "bday", "school": "skool", "anyone": "any1", "give": "giv",
}  # fmt: skip

_SHOUTED = frozenset(
    {
        "free", "win", "won", "winner", "cash", "call", "now", "urgent", "claim", "prize",
        "guaranteed", "txt", "text", "stop", "new", "reply", "private", "award",
        "congratulations", "selected", "your", "you", "last", "today", "not",
    }
)  # fmt: skip

_WORD = re.compile(r"[A-Za-z']+")


@dataclass(frozen=True)
class Style:
    """How one sender writes; every rate is a probability."""

    shorthand: float
    capitals: float
    shouting: float
    slips: float
    stops: tuple[str, ...]
    smiley: float

    def word(self, word: str, random: Random) -> str:
        """One word as this sender would type it."""
        lowered = word.lower()
        if lowered in _SHORTHAND and chance(random, self.shorthand):
            short = _SHORTHAND[lowered]
            return short.capitalize() if word[0].isupper() else short
        if lowered in _SHOUTED and chance(random, self.shouting):
            return word.upper()
        if len(word) > 4 and chance(random, self.slips):
            cut = 1 + int(random.random() * (len(word) - 1))
            return word[:cut] + word[cut + 1 :]
        return word

    def sentence(self, text: str, random: Random) -> str:
        """A sentence in this sender's spelling, with a stop behind it."""
        if self.shorthand or self.shouting or self.slips:
            text = "".join(
                self.word(piece, random) if _WORD.fullmatch(piece) else piece
                for piece in re.split(r"([A-Za-z']+)", text)
            )
        if chance(random, self.capitals):
            text = text[:1].upper() + text[1:]
            text = re.sub(r"\bi\b", "I", text)
        if text[-1:] in "?!":
            return text
        return text + choose(random, self.stops)


def friend_style(random: Random) -> Style:
    """The habits of a person who writes to friends."""
    return Style(
        shorthand=choose(random, (0.0, 0.0, 0.1, 0.35, 0.7)),
        capitals=choose(random, (0.0, 0.3, 1.0, 1.0)),
        shouting=choose(random, (0.0, 0.0, 0.0, 0.1)),
        slips=choose(random, (0.0, 0.0, 0.02, 0.06)),
        stops=choose(
            random,
            ((".",), ("..", "..."), (".", "!"), ("", "."), ("!", "!!"), ("...", "."), (",", "")),
        ),
        smiley=choose(random, (0.0, 0.0, 0.2, 0.5)),
    )


def sender_style(random: Random) -> Style:
    """The habits of a bulk sender."""
    return Style(
        shorthand=choose(random, (0.0, 0.0, 0.15, 0.4)),
        capitals=choose(random, (1.0, 1.0, 0.8, 0.2)),
        shouting=choose(random, (0.0, 0.1, 0.4, 0.8)),
        slips=choose(random, (0.0, 0.0, 0.01)),
        stops=choose(random, (("!",), (".",), (".", "!"), (".", ","), ("!", "!!"), (".", ""))),
        smiley=0.0,
    )
