"""Faults to plant in a device's state: crashes, and thieves of what it keeps.

A part of ``planted.py``, under the same rules.
"""

from __future__ import annotations

from tests import removals
from tests.plant import Plant, fault
from tests.removals import always

E2EE = "crypto_modes.e2ee."
KILLED = "attack_state::test_killed_at_any_moment_no_key_is_used_twice_and_nothing_lost"

PLANTS: tuple[Plant, ...] = (
    fault(
        26,
        "keeping the state before sending",
        {"client.keystore.Keystore.transaction": removals.kept_after_sending},
        KILLED,
    ),
    fault(
        26,
        "keeping a message before its ack",
        {"client.incoming.Incoming.delivered": removals.acked_unread},
        KILLED,
    ),
    fault(
        26,
        "one transaction for a message and the keys that it used",
        {"client.keystore.Keystore.transaction": removals.row_by_row},
        KILLED,
    ),
    fault(
        27,
        "the deletion of keys that were used",
        {E2EE + "sessions.Sessions.opened": removals.keeping_used_keys},
        "attack_state::test_a_thief_of_the_state_reads_nothing_from_before",
    ),
    fault(
        27,
        "fresh keys at each turn",
        {E2EE + "ratchet.Ratchet._turn": removals.turning_with_old_keys},
        "attack_state::test_a_thief_of_the_state_is_shut_out_by_the_next_two_turns",
    ),
    fault(
        27,
        "the end of a crossing of sessions",
        {E2EE + "sessions._crossing": always(True)},
        "e2ee_sessions::test_27_who_goes_back_to_what_both_had_left_shows",
        "e2ee_sessions::test_27_whose_state_went_back_is_followed_in_the_end_and_shows",
    ),
)
