"""Faults to plant in the vault: what it checks of the relay, and whom it knows.

Another part of ``planted.py``, under the same rules.
"""

from __future__ import annotations

from tests import removals
from tests.plant import Plant, fault
from tests.removals import always, put

SCOPE, VAULT, CHAINS = "crypto_modes.scope.", "server.vault.", "server.moderation.chains."
OPENING, ASKING, HEADS = "vault_opening::test_", "vault_asking::test_", "chain_heads::test_"
RECONCILING, REPORTED = "vault_reconciling::test_", "vault_reported::test_"

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
        OPENING + "what_ends_while_the_log_is_written_has_ended",
    ),
    fault(
        42,
        "the list of the staff, read for every call",
        {VAULT + "staff.Staff.people": removals.remembered},
        OPENING + "who_is_taken_off_the_list_is_out_at_once",
    ),
    fault(
        17,
        "the memory of calls that were made",
        {VAULT + "asking.Nonces.use": removals.at_once(None)},
        ASKING + "a_call_works_once_also_across_a_restart",
        ASKING + "two_of_one_call_at_once_are_one",
    ),
    fault(
        17,
        "since when calls are remembered",
        {VAULT + "asking.Nonces._forget": removals.from_now_on},
        ASKING + "a_clock_that_goes_ahead_and_back_makes_no_call_new",
        ASKING + "nor_does_one_that_goes_back_between_two_starts",
    ),
    fault(
        39,
        "the count of data keys that were unwrapped",
        {VAULT + "counting.Count.add": always(None)},
        RECONCILING + "an_unwrap_that_bypasses_the_log_is_found_and_entered",
        RECONCILING + "the_count_stays_over_restarts_and_a_cut_off_line",
        RECONCILING + "what_cannot_be_counted_is_not_unwrapped",
    ),
    fault(
        39,
        "the comparison of that count with the log",
        {VAULT + "reconciling._number": always(1000)},
        RECONCILING + "an_unwrap_that_bypasses_the_log_is_found_and_entered",
        RECONCILING + "the_count_stays_over_restarts_and_a_cut_off_line",
    ),
    fault(
        39,
        "the entry of what was unwrapped past the log",
        {VAULT + "reconciling.Reconciling.tell": removals.at_once(None)},
        RECONCILING + "an_unwrap_that_bypasses_the_log_is_found_and_entered",
        RECONCILING + "a_difference_is_entered_once_and_again_where_it_grew_a_day_later",
    ),
    fault(
        39,
        "the entries of conversations' heads, by the hour",
        {CHAINS + "Chains.tick": removals.at_once(None)},
        HEADS + "once_an_hour_one_entry_covers_what_changed",
        HEADS + "a_record_that_was_rolled_back_is_found",
    ),
    fault(
        39,
        "the heads in those entries",
        {"crypto_modes.at_rest.heads_digest": always(bytes(32))},
        HEADS + "once_an_hour_one_entry_covers_what_changed",
        HEADS + "a_history_that_holds_in_itself_and_is_another_is_found",
    ),
    fault(
        39,
        "the look at the log beside the list of heads",
        {"server.chain_check._other": always("")},
        HEADS + "whoever_changes_the_list_as_well_is_found_by_the_log",
    ),
    fault(
        38,
        "the report that must be there before its context is read",
        {VAULT + "revealed.Revealed.check": always(None)},
        REPORTED + "what_lies_around_a_report_needs_one_that_was_opened",
        REPORTED + "a_report_that_is_refused_is_none",
        REPORTED + "a_grant_around_a_report_holds_a_message_that_was_reported",
    ),
    fault(
        38,
        "the proof of the message around which is read",
        {"crypto_modes.verdicts.PROVEN": put(("verified", "confirmed", "claim"))},
        REPORTED + "around_a_claim_nothing_is_read",
    ),
    fault(
        38,
        "the days after which a report no longer counts",
        {VAULT + "revealed.Revealed._recent": removals.known_at_all},
        REPORTED + "a_report_counts_for_thirty_days_and_again_once_it_is_opened_again",
    ),
    fault(
        39,
        "the links between what the vault knew and what it is shown",
        {SCOPE + "gaps": always(())},
        "vault_heads::test_links_that_lead_elsewhere_open_nothing",
        "vault_heads::test_a_relay_that_shows_each_look_another_history_is_found",
    ),
    fault(
        39,
        "the log's signature of the keys of days",
        {"crypto_modes.transparency.access_log.check_days": always(None)},
        "openings::test_a_relay_that_changes_any_leaf_or_answers_something_else_is_found",
        "opened_story::test_a_reading_that_is_hidden_from_who_saw_the_log_is_an_alarm",
    ),
)
