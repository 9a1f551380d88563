from __future__ import annotations

import itertools
import random

from tools.stand_ins.grammar import LONGEST_TEXT_CHARACTERS, Messenger


def test_messages_of_a_thread_are_by_one_sender() -> None:
    threads = [Messenger(5).thread(kind=1, messages=4) for _ in range(1)]
    threads += [Messenger(seed).thread(kind=seed % 2, messages=4) for seed in range(40)]
    assert all(len(thread.messages) == 4 for thread in threads)
    # What is remembered (a name, a number, a subject) makes the messages of a thread alike.
    words = [[set(message.lower().split()) for message in t.messages] for t in threads]
    within = sum(len(w[0] & w[1]) for w in words)
    between = sum(len(w[0] & v[1]) for w, v in itertools.pairwise(words))
    assert within > 1.3 * between


def test_corpus_depends_on_the_seed_alone() -> None:
    state = random.getstate()
    one, same, other = (Messenger(seed).corpus(200) for seed in (1, 1, 2))
    assert one == same
    assert one != other
    assert random.getstate() == state
    assert max(map(len, one[1])) <= LONGEST_TEXT_CHARACTERS


def test_corpus_has_the_proportion_of_spam_of_the_real_one() -> None:
    labels, texts = Messenger(0).corpus(1000)
    assert (len(texts), sum(labels)) == (1000, 134)
