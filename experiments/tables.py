"""Tables of text, lists of rows of cells of which the first is the header, as Markdown and as CSV."""

import csv
import io


def to_markdown(table) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in table]
    return "\n".join([lines[0], "|---" * len(table[0]) + "|", *lines[1:]]) + "\n"


def to_csv(table) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(table)
    return text.getvalue()
