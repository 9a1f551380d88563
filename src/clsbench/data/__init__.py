"""From a data set to rows of token ids; also the public functions that read a user's files."""

from clsbench.components.values import TableFormat, TextPair
from clsbench.data.columns import GroupColumn, TextPairColumn, TimeColumn
from clsbench.data.corpus import split_named
from clsbench.data.delimited import Table, TableRow, read_table
from clsbench.data.encoding import TextEncoder
from clsbench.data.times import NotATimeError, read_times
from clsbench.schema.decoding import DecodingError, decode_json, read_bytes

__all__ = [
    "DecodingError",
    "GroupColumn",
    "NotATimeError",
    "Table",
    "TableFormat",
    "TableRow",
    "TextEncoder",
    "TextPair",
    "TextPairColumn",
    "TimeColumn",
    "decode_json",
    "read_bytes",
    "read_table",
    "read_times",
    "split_named",
]
