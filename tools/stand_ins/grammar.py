"""Conversations of text messages, ham and spam, drawn from a seeded grammar."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from random import Random

from tools.stand_ins.expansion import Grammar, Scope, chance, choose
from tools.stand_ins.lexicon import NUMBERS, WORDS
from tools.stand_ins.style import Style, friend_style, sender_style

from tools.stand_ins import ham_rules, spam_rules

HAM, SPAM = 0, 1

CLASS_NAMES = ("ham", "spam")

LONGEST_TEXT_CHARACTERS = 300
"""No message is longer."""

_REAL_TEXTS, _REAL_SPAM = 5572, 747

# Lengths in characters at evenly spaced quantiles (0, 5 %, 10 % …), much as in real inboxes.
_HAM_LENGTHS = (
    6, 22, 25, 28, 30, 33, 36, 40, 44, 48, 53, 59, 66, 74, 84, 96, 112, 132, 150, 168, 330,
)  # fmt: skip
_SPAM_LENGTHS = (
    24, 70, 97, 117, 127, 133, 137, 141, 144, 147, 149, 151, 153, 154, 156, 157, 158, 159, 160,
    161, 175,
)  # fmt: skip

_SPAM_LIKE_HAM_FRACTION = 0.18
_CHATTY_SPAM_FRACTION = 0.2
_BULK_THREADS_FRACTION = 0.35
_FALSE_FIRM_FRACTION = 0.06
_HOOKLESS_CHAT_FRACTION = 0.3
_RESENT_HAM_FRACTION = 0.04
_RESENT_SPAM_FRACTION = 0.12


@dataclass(frozen=True)
class Thread:
    """Messages of one sender about one subject."""

    kind: int
    messages: tuple[str, ...]


class Messenger:
    """Draws threads; the same seed gives the same threads in every version of Python."""

    def __init__(self, seed: int) -> None:
        """Start the sequence of ``seed``."""
        self._random = Random(seed)
        self._grammar = Grammar(NUMBERS, WORDS, *ham_rules.RULES, *spam_rules.RULES)

    def thread(self, kind: int, messages: int) -> Thread:
        """A thread of ``messages`` messages by one sender, all ham or all spam."""
        random = self._random
        scope: Scope = {}
        if kind == HAM:
            style = friend_style(random)
            subject = self._ham_subject()
            if subject == "firm":
                write = self._firm_writer(style, "honest_hook", scope)
            else:
                write = self._ham_writer(style, subject, scope)
        elif chance(random, _CHATTY_SPAM_FRACTION):
            write = self._chatty_spam_writer(friend_style(random), scope)
        elif chance(random, _FALSE_FIRM_FRACTION):
            write = self._firm_writer(friend_style(random), "hook", scope)
        else:
            campaign = choose(random, spam_rules.CAMPAIGN_NAMES[:-1])
            write = self._spam_writer(sender_style(random), campaign, scope)
        return Thread(kind, tuple(write() for _ in range(messages)))

    def corpus(self, texts: int) -> tuple[list[int], list[str]]:
        """Labels and texts in the proportions of a real inbox, resent messages included."""
        random = self._random
        spam_left = max(round(texts * _REAL_SPAM / _REAL_TEXTS), 1)
        labels: list[int] = []
        drawn: list[str] = []
        earlier: tuple[list[str], list[str]] = ([], [])
        for left in range(texts, 0, -1):
            kind = SPAM if chance(random, spam_left / left) else HAM
            spam_left -= kind
            resent = _RESENT_SPAM_FRACTION if kind == SPAM else _RESENT_HAM_FRACTION
            if earlier[kind] and chance(random, resent):
                text = choose(random, earlier[kind])
            else:
                text = self.thread(kind, 1).messages[0]
            earlier[kind].append(text)
            labels.append(kind)
            drawn.append(text)
        return labels, drawn

    def threads(self) -> Iterator[tuple[str, ...]]:
        """Endless threads without labels, a third of them by bulk senders."""
        while True:
            kind = SPAM if chance(self._random, _BULK_THREADS_FRACTION) else HAM
            yield self.thread(kind, 2 + int(self._random.random() * 4)).messages

    def _ham_subject(self) -> str:
        if chance(self._random, _SPAM_LIKE_HAM_FRACTION):
            return choose(self._random, ("luck", "urgent", "firm", "firm", "money", "phone"))
        return choose(self._random, ham_rules.SUBJECT_NAMES)

    def _ham_writer(self, style: Style, subject: str, scope: Scope) -> Callable[[], str]:
        random, expand = self._random, self._grammar.expand

        def write() -> str:
            target = self._length(_HAM_LENGTHS)
            if target < 28 and chance(random, 0.6):
                return style.sentence(expand("short", random, scope), random).rstrip(" ,")
            sentences: list[str] = []
            if chance(random, 0.18) and target > 30:
                sentences.append(style.sentence(expand("hello", random, scope), random))

            def draw() -> str:
                turn = random.random()
                if turn < 0.72:
                    return style.sentence(expand(subject, random, scope), random)
                if turn < 0.92:
                    return style.sentence(expand("filler", random, scope), random)
                other = choose(random, ham_rules.SUBJECT_NAMES)
                return style.sentence(expand(other, random, scope), random)

            self._fill(sentences, draw, target)
            if chance(random, 0.12) and target > 40:
                sentences.append(style.sentence(expand("bye", random, scope), random))
            if chance(random, style.smiley):
                sentences.append(expand("smiley", random, scope))
            return _joined(sentences).rstrip(" ,")

        return write

    def _firm_writer(self, style: Style, hook: str, scope: Scope) -> Callable[[], str]:
        """An honest firm, or one that pretends to be: they differ only in what they ask for."""
        random, expand = self._random, self._grammar.expand
        style = replace(style, capitals=1.0, smiley=0.0)

        def write() -> str:
            sentences: list[str] = []
            if chance(random, 0.4):
                sentences.append(style.sentence(expand("firm_opening", random, scope), random))

            def draw() -> str:
                return style.sentence(expand("firm", random, scope), random)

            self._fill(sentences, draw, 30 + self._length(_HAM_LENGTHS) // 2)
            if hook == "hook" or chance(random, 0.7):
                sentences.append(style.sentence(expand(hook, random, scope), random))
            return _joined(sentences).rstrip(" ,")

        return write

    def _spam_writer(self, style: Style, campaign: str, scope: Scope) -> Callable[[], str]:
        random, expand = self._random, self._grammar.expand

        def write() -> str:
            target = self._length(_SPAM_LENGTHS)
            sentences: list[str] = []
            if chance(random, 0.45):
                sentences.append(style.sentence(expand("shout", random, scope), random))
            sentences.append(style.sentence(expand(campaign, random, scope), random))
            endings = [style.sentence(expand("hook", random, scope), random)]
            if target > 90:
                endings.append(style.sentence(expand("terms", random, scope), random))

            def draw() -> str:
                turn = random.random()
                rule = campaign if turn < 0.5 else "push" if turn < 0.8 else "terms"
                return style.sentence(expand(rule, random, scope), random)

            self._fill(sentences, draw, target - len(_joined(endings)) - 1)
            return _joined(sentences + endings).rstrip(" ,")

        return write

    def _chatty_spam_writer(self, style: Style, scope: Scope) -> Callable[[], str]:
        random, expand = self._random, self._grammar.expand
        hookless = chance(random, _HOOKLESS_CHAT_FRACTION)
        subject = choose(random, ham_rules.SUBJECT_NAMES)

        def write() -> str:
            sentences = [style.sentence(expand("chatty", random, scope), random)]

            def draw() -> str:
                rule = choose(random, ("chatty", "filler", subject))
                return style.sentence(expand(rule, random, scope), random)

            self._fill(sentences, draw, self._length(_SPAM_LENGTHS) - 40)
            if not hookless:
                sentences.append(style.sentence(expand("hook", random, scope), random))
                if chance(random, 0.5):
                    sentences.append(style.sentence(expand("terms", random, scope), random))
            return _joined(sentences).rstrip(" ,")

        return write

    def _length(self, quantiles: tuple[int, ...]) -> int:
        at = self._random.random() * (len(quantiles) - 1)
        below = int(at)
        return round(quantiles[below] + (at - below) * (quantiles[below + 1] - quantiles[below]))

    def _fill(self, sentences: list[str], draw: Callable[[], str], target: int) -> None:
        """Add sentences until one more would miss the ``target`` length by more than stopping."""
        length = len(_joined(sentences))
        while True:
            sentence = draw()
            longer = length + 1 + len(sentence)
            if sentences and (
                longer - target > target - length or longer > LONGEST_TEXT_CHARACTERS - 30
            ):
                return
            if sentence not in sentences:
                sentences.append(sentence)
            length = longer


def _joined(sentences: list[str]) -> str:
    return " ".join(sentences)
