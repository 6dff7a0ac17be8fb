"""A QR code as lines of text, two rows of squares a line.

Only the drawing lives here. Black on white by the terminal's own colours, whatever its theme is;
without colours for a screen that is no terminal.
"""

from __future__ import annotations

import segno

_BLOCKS = {(0, 0): " ", (1, 0): "▀", (0, 1): "▄", (1, 1): "█"}
_INK, _PLAIN = "\x1b[30;107m", "\x1b[0m"
BORDER = 2


def draw(text: str, *, colours: bool) -> str:
    """The code of ``text``, with room around it: some 20 lines of 40 characters."""
    code = segno.make(text, error="m", micro=False)
    rows = [[int(square) for square in row] for row in code.matrix_iter(border=BORDER)]
    if len(rows) % 2:
        rows.append([0] * len(rows[0]))
    pairs = zip(rows[::2], rows[1::2], strict=True)
    lines = ["".join(_BLOCKS[pair] for pair in zip(*both, strict=True)) for both in pairs]
    return "\n".join(f"{_INK}{line}{_PLAIN}" if colours else line for line in lines)
