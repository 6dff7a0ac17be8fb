"""Faults to plant in trust in keys: the key log and its watch.

The other half of ``planted.py``, under the same rules.
"""

from __future__ import annotations

from tests import removals
from tests.plant import Plant, fault
from tests.removals import always

LOG, WATCH = "client.key_log.KeyLog.", "client.key_watch.KeyWatch."
TREE = "crypto_modes.transparency."
ATTACK = "attack_key_log::test_"
SPLIT = "attack_split_log::test_"

PLANTS: tuple[Plant, ...] = (
    fault(
        14,
        "the log before a key is believed",
        {LOG + "admit": removals.at_once(None)},
        ATTACK + "a_key_that_is_not_in_the_log_is_not_believed_and_nothing_is_sent",
        ATTACK + "a_forged_proof_is_refused",
        ATTACK + "another_log_key_is_refused_until_the_person_takes_it",
        ATTACK + "a_log_that_was_put_back_is_said_and_no_new_key_is_believed",
    ),
    fault(
        14,
        "the verification of proofs of inclusion",
        {TREE + "tree.check_inclusion": always(None)},
        ATTACK + "a_forged_proof_is_refused",
    ),
    fault(
        14,
        "the signature on checkpoints",
        {TREE + "note.Note.verify": always({})},
        ATTACK + "a_forged_proof_is_refused",
    ),
    fault(
        14,
        "the pinned key of the log",
        {LOG + "_open": removals.any_log},
        ATTACK + "another_log_key_is_refused_until_the_person_takes_it",
    ),
    fault(
        14,
        "the judgement of one's own entries",
        {WATCH + "_judge": always(None)},
        ATTACK + "the_owner_finds_a_false_key_that_was_entered_for_everybody",
        ATTACK + "an_own_entry_that_the_relay_does_not_open_is_said",
        ATTACK + "a_false_key_entered_before_the_account_was_made_is_found",
        ATTACK + "whose_keys_the_log_does_not_hold_hears_of_it",
    ),
    fault(
        14,
        "the root over what is listed of the log",
        {WATCH + "_check": removals.at_once(None)},
        ATTACK + "an_own_entry_that_is_left_out_of_the_pages_does_not_fit_the_root",
    ),
    fault(
        19,
        "the comparison of the log with what it was",
        {TREE + "key_log.check_consistency": always(None)},
        ATTACK + "a_log_whose_past_was_changed_is_refused",
    ),
    fault(
        19,
        "the comparison of the log with what peers say of it",
        {TREE + "key_log.heard": always(())},
        SPLIT + "a_split_view_shows_when_the_two_sides_write_to_somebody",
        SPLIT + "a_head_that_the_relay_denies_is_a_split_view",
    ),
)
