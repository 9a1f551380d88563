"""The terminal's table of methods ranked over data sets."""

from __future__ import annotations

from rich.markup import escape
from rich.text import Text

from clsbench.analysis.dataset_ranks import RankedMethod, Ranks
from clsbench.report.ranks import ranks_note, ranks_sentences, verdict_text
from clsbench.report.terminal.console import Console
from clsbench.report.terminal.layout import Row, fitting_table
from clsbench.report.wording import metric_text, plain
from clsbench.system.printable import printable


def print_ranks(console: Console, ranks: Ranks) -> None:
    """Print the mean ranks, the score of each method on each data set, and notes."""
    names = [escape(printable(each.name)) for each in ranks.datasets]  # headers may have markup
    rows = [_row(each, ranks) for each in ranks.methods]
    headers = ["mean rank", "against best", *names]
    optional = list(reversed(names))
    see = "clsbench report"
    console.print(fitting_table("method", headers, [rows], console.width, optional, see))
    for sentence in ranks_sentences(ranks):
        console.prose(sentence)
    console.prose(ranks_note(ranks), "dim")


def _row(method: RankedMethod, ranks: Ranks) -> Row:
    best = [
        min(each.ranks[place] for each in ranks.methods) for place in range(len(ranks.datasets))
    ]
    verdict = verdict_text(method, ranks) or "–"
    scores = [
        Text(metric_text(ranks.metric, score), "bold" if rank == first else "")
        for score, rank, first in zip(method.scores, method.ranks, best, strict=True)
    ]
    label = method.name if method.rows else f"{method.name} (baseline)"
    style = "red" if method.verdict == "worse" else ""
    return Row(plain(label), (f"{method.mean_rank:.2f}", Text(verdict, style), *scores))
