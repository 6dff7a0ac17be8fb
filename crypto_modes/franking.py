"""Franking: reports that can be believed, without the relay reading a message it carries.

What may live here: the commitment C, the relay's stamp and the pure verification of a report.
What may not: keys' storage, moderation, transport. The sender commits to the padded plaintext,
the relay stamps commitment and context, the reporter opens the commitment. A stamp is a MAC and
not a signature: outside the platform a report proves nothing, which keeps deniability.
Sizes: ``K_f``, ``C``, ``K_S`` and stamps are 32 bytes. Source: modes.md, Franking, after
Grubbs, Lu and Ristenpart (CRYPTO 2017): the commitment is an HMAC under a one-time key, never
the tag of the AEAD, which two keys can share.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from crypto_modes.contract import ID_SIZE
from crypto_modes.encoding import enc
from crypto_modes.errors import BadArgument, ReportRefused
from crypto_modes.primitives import HASH_SIZE, KEY_SIZE, equal, hmac

if TYPE_CHECKING:
    from crypto_modes.contract import Evidence, Meta

REPORT_WINDOW = timedelta(days=90)

# enc() with the sizes of both ids known; a test holds it to enc().
_ID = ID_SIZE.to_bytes(4, "big")
_FRANK = enc("louver/v1/frank") + _ID


def commitment(key: bytes, conversation: bytes, message_id: bytes, message: bytes) -> bytes:
    """``C = HMAC(K_f, enc("louver/v1/frank", conversation, message_id, M))``.

    Raises ``BadArgument`` unless the key has exactly 32 bytes: HMAC pads shorter and hashes
    longer keys, so keys of other sizes have twins and would bind nothing.
    """
    if len(key) != KEY_SIZE or len(conversation) != ID_SIZE or len(message_id) != ID_SIZE:
        raise BadArgument("a franking key has exactly 32 bytes, the two ids 16 each")
    size = len(message).to_bytes(4, "big")
    return hmac(key, b"".join((_FRANK, conversation, _ID, message_id, size, message)))


def month_of(time: int) -> int:
    """``YYYYMM`` in UTC of a time in milliseconds: the epoch of the relay's franking key.

    Raises ``BadArgument`` for a time that no calendar has.
    """
    try:
        moment = datetime.fromtimestamp(time / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        raise BadArgument("this time is beyond any calendar") from None
    return moment.year * 100 + moment.month


def end_of_window(month: int) -> int:
    """When reports on messages of ``YYYYMM`` expire, in milliseconds: 90 days after its end.

    The relay destroys its key then. Raises ``BadArgument`` for what is no month.
    """
    year, number = divmod(month, 100)
    try:
        after = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC)
        datetime(year, number, 1, tzinfo=UTC)
    except ValueError:
        raise BadArgument(f"a month is written YYYYMM, not {month}") from None
    return int((after + REPORT_WINDOW).timestamp() * 1000)


def stamp(key: bytes, meta: Meta, committed: bytes) -> bytes:
    """The relay's frank over the commitment and what the relay itself knows of the message."""
    return hmac(
        key,
        enc(
            "louver/v1/stamp",
            month_of(meta.time),
            committed,
            meta.conversation,
            meta.id,
            meta.sender,
            meta.device,
            meta.recipient,
            meta.seq,
            meta.time,
            meta.mode,
        ),
    )


def verify(key: bytes, meta: Meta, committed: bytes, stamped: bytes, evidence: Evidence) -> None:
    """Hold a report to its proof, offline: stamp, then commitment, then who reports.

    ``key`` is the relay's of ``month_of(meta.time)``; its destruction is what makes old reports
    expire. The order matters: nothing in ``evidence`` is believed before the stamp shows that
    this relay really saw this commitment in this context. Raises ``ReportRefused``.
    """
    if len(committed) != HASH_SIZE or not equal(stamp(key, meta, committed), stamped):
        raise ReportRefused("this relay never stamped such a message")
    if len(evidence.key) != KEY_SIZE or not equal(
        commitment(evidence.key, meta.conversation, meta.id, evidence.message), committed
    ):
        raise ReportRefused("the revealed text is not what the sender committed to")
    if evidence.reporter != meta.recipient or evidence.reporter == meta.sender:
        raise ReportRefused("only the recipient of a message can report it")
