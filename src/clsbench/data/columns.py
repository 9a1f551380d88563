"""Options of data sets that name columns, declared once."""

from typing import Annotated

from msgspec import Meta

TextPairColumn = Annotated[
    str,
    Meta(
        min_length=1,
        description="column with a second text for each text, such as a hypothesis for each"
        " premise; both are classified together (default: no column)",
    ),
]

GroupColumn = Annotated[
    str,
    Meta(
        min_length=1,
        description="column with the group of each text, such as its author, for data.split=group"
        " (default: no column)",
    ),
]

TimeColumn = Annotated[
    str,
    Meta(
        min_length=1,
        description="column with the date of each text (ISO 8601) or a number, for data.split=time"
        " (default: no column)",
    ),
]
