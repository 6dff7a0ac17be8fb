"""Faults to plant in the vault: what it checks of the relay, and whom it knows.

Another part of ``planted.py``, under the same rules.
"""

from __future__ import annotations

from tests import removals
from tests.plant import Plant, fault
from tests.removals import always

SCOPE, VAULT = "crypto_modes.scope.", "server.vault."
OPENING = "vault_opening::test_"

PLANTS: tuple[Plant, ...] = (
    fault(
        39,
        "the vault's look at the hash chain",
        {SCOPE + "_next_head": removals.stated_head},
        "scope::test_nothing_is_believed_that_can_be_checked",
        OPENING + "swapped_rows_open_nothing",
    ),
    fault(
        39,
        "the place of each record at the vault",
        {SCOPE + "_check_place": always(None)},
        "scope::test_nothing_is_believed_that_can_be_checked",
    ),
    fault(
        39,
        "what the vault was shown before",
        {SCOPE + "check_known": always(None)},
        "scope::test_a_history_that_was_shown_before_stays",
        OPENING + "a_conversation_rolled_back_since_the_last_look_opens_nothing",
    ),
    fault(
        42,
        "the vault's second look at staff and clock",
        {VAULT + "opening.Opening._check": removals.once_a_call},
        OPENING + "what_ends_while_the_relay_answers_has_ended",
    ),
    fault(
        42,
        "the list of the staff, read for every call",
        {VAULT + "staff.Staff.people": removals.remembered},
        OPENING + "who_is_taken_off_the_list_is_out_at_once",
    ),
)
