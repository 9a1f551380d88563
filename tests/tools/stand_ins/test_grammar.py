from __future__ import annotations

import itertools
import random

from tools.stand_ins.grammar import LONGEST_TEXT_CHARACTERS, Messenger


def test_messenger_messages_of_a_thread_share_words() -> None:
    threads = [Messenger(5).thread(kind=1, messages=4) for _ in range(1)]
    threads += [Messenger(seed).thread(kind=seed % 2, messages=4) for seed in range(40)]
    assert all(len(thread.messages) == 4 for thread in threads)
    # Remembered names, numbers and subjects occur in several messages of a thread.
    words = [[set(message.lower().split()) for message in t.messages] for t in threads]
    within = sum(len(w[0] & w[1]) for w in words)
    between = sum(len(w[0] & v[1]) for w, v in itertools.pairwise(words))
    assert within > 1.3 * between


def test_messenger_corpus_depends_only_on_the_seed() -> None:
    state = random.getstate()
    one, same, other = (Messenger(seed).corpus(200) for seed in (1, 1, 2))
    assert one == same
    assert one != other
    assert random.getstate() == state
    assert max(map(len, one[1])) <= LONGEST_TEXT_CHARACTERS


def test_messenger_corpus_has_the_real_proportion_of_spam() -> None:
    labels, texts = Messenger(0).corpus(1000)
    assert (len(texts), sum(labels)) == (1000, 134)
