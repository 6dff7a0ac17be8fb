"""Faults to plant: each takes one protection away, and names the tests that must then fail.

Only the table lives here; ``removals.py`` says what is planted and ``plants.py`` plants it. A
place is a dotted name where the product looks the protection up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tests import removals
from tests.removals import Change, always, put


class Plant(NamedTuple):
    """``without`` says in words which protection is gone; all of ``tests`` must fail then."""

    row: int
    without: str
    changes: Mapping[str, Change]
    tests: tuple[str, ...]


E2EE = "crypto_modes.e2ee."
CONFUSION = "tests/test_attack_confusion.py::"
MAULING = "tests/test_attack_mauling.py::"
CLIENT = "tests/test_e2ee_client.py::"
HANDSHAKE = "tests/test_gateway_handshake.py::"
HOSTILE = "tests/test_client_hostile.py::"
PARSER = "tests/test_attack_parser.py::"
REPLAY = "tests/test_attack_replay.py::"
STATE = "tests/test_attack_state.py::"
STRANGERS = "tests/test_attack_strangers.py::"

PLANTS: tuple[Plant, ...] = (
    Plant(
        3,
        "labels in what is authenticated",
        {"crypto_modes.encoding.enc": removals.unlabelled},
        (CONFUSION + "test_no_object_is_taken_for_another",),
    ),
    Plant(
        3,
        "the context that a data key was wrapped for",
        {
            "server.keyrings.file.FileKeyring._derive": removals.any_context,
            "server.keyrings.file.aead_seal": removals.without_aad,
            "server.keyrings.file.aead_open": removals.without_aad,
        },
        ("tests/test_keyrings.py::test_a_key_wrapped_for_one_place_opens_no_other",),
    ),
    Plant(
        6,
        "one error for every failure in `e2ee`",
        {E2EE + "receiving.LouverError": put(removals.Nobody)},
        (MAULING + "test_every_failure_to_open_is_the_same_error_and_changes_nothing",),
    ),
    Plant(
        6,
        "one error for every failure in `at_rest`",
        {"crypto_modes.at_rest.unpad": removals.saying_why},
        (MAULING + "test_every_failure_to_read_a_record_is_the_same_error",),
    ),
    Plant(
        7,
        "the envelope and the header in the AAD",
        {
            E2EE + "session.aead_seal": removals.without_aad,
            E2EE + "session.aead_open": removals.without_aad,
        },
        (
            "tests/test_e2ee_session.py::test_7_every_field_of_the_context_is_bound",
            "tests/test_e2ee_session.py::test_7_every_bit_of_a_copy_is_bound",
        ),
    ),
    Plant(
        8,
        "silence about what does not open",
        {"client.incoming.Incoming._unreadable": removals.telling},
        (MAULING + "test_a_mauled_message_says_nothing_to_anyone_and_harms_no_other",),
    ),
    Plant(
        9,
        "a session for each pair of devices",
        {E2EE + "session.Session.seal": removals.one_for_all},
        (STATE + "test_every_device_has_a_ciphertext_of_its_own",),
    ),
    Plant(
        10,
        "algorithm and use in a prekey's signature",
        {E2EE + "devices.signed_prekey": removals.unsigned_kind},
        (CONFUSION + "test_a_signed_key_cannot_be_relabelled",),
    ),
    Plant(
        10,
        "the KEM key in the transcript",
        {E2EE + "pqxdh.transcript": removals.without_kem_key},
        (CONFUSION + "test_the_shared_key_depends_on_the_kem_key_beside_the_secret",),
    ),
    Plant(
        11,
        "one one-time key per requester, device and day",
        {"server.store.sqlite.directory._granted": always(False)},
        (STRANGERS + "test_one_requester_gets_one_one_time_key_a_day",),
    ),
    Plant(
        12,
        "the memory of first messages and used prekeys",
        {E2EE + "identity.Identity.use_up": always(None)},
        ("tests/test_e2ee_sessions.py::test_12_a_first_message_begins_one_session",),
    ),
    Plant(
        16,
        "the checks of a bundle",
        {E2EE + "handshakes.check_bundle": always(None)},
        ("tests/test_e2ee_keys.py::test_16_bundles_cannot_be_weakened",),
    ),
    Plant(
        17,
        "the memory of messages that were shown",
        {"client.memory.Memory.knows": always(False)},
        (
            REPLAY + "test_each_envelope_is_shown_once_however_often_it_comes",
            REPLAY + "test_an_old_envelope_under_another_number_is_not_shown_again",
            HOSTILE + "test_17_a_replayed_message_is_shown_once_also_after_a_restart",
        ),
    ),
    Plant(
        20,
        "the account in what account keys and devices sign",
        {
            E2EE + "devices.signed_certificate": removals.for_nobody,
            E2EE + "devices.signed_list": removals.for_nobody,
            E2EE + "devices.signed_prekey": removals.for_nobody,
        },
        (CONFUSION + "test_bobs_keys_under_carols_name_are_refused",),
    ),
    Plant(
        20,
        "the parties in the transcript",
        {E2EE + "pqxdh.transcript": removals.without_parties},
        (
            CONFUSION + "test_ends_that_disagree_on_who_they_are_share_no_key",
            "tests/test_e2ee_pqxdh.py::test_20_the_key_depends_on_who_shakes_hands",
        ),
    ),
    Plant(
        21,
        "the agreement with the initiator's identity key",
        {E2EE + "pqxdh._derive": removals.without_first_dh},
        (CONFUSION + "test_bobs_identity_key_does_not_make_one_alice",),
    ),
    Plant(
        22,
        "the check of points at the door",
        {
            "crypto_modes.primitives.ed25519_check": always(None),
            "crypto_modes.primitives.x25519_check": always(None),
        },
        (
            STRANGERS + "test_no_key_of_small_order_is_registered",
            "tests/test_primitives.py::test_small_order_agreement_keys_are_refused",
            "tests/test_primitives.py::test_small_order_signing_keys_are_refused",
        ),
    ),
    Plant(
        23,
        "the comparison with the commitment",
        {E2EE + "receiving.equal": always(True)},
        (
            CLIENT + "test_23_a_copy_of_another_text_than_the_committed_one_is_not_shown",
            MAULING + "test_every_failure_to_open_is_the_same_error_and_changes_nothing",
        ),
    ),
    Plant(
        24,
        "the key commitment of a record and of a wrapped key",
        {"crypto_modes.at_rest.equal": always(True), "server.keyrings.file.equal": always(True)},
        (
            "tests/test_at_rest.py::test_a_ciphertext_for_two_keys_opens_under_the_committed_one_alone",
            "tests/test_keyrings.py::test_no_byte_of_a_wrapped_key_can_be_changed",
        ),
    ),
    Plant(
        25,
        "the fresh salt of each record",
        {"crypto_modes.at_rest.AtRestServer.__init__": removals.one_salt},
        ("tests/test_at_rest.py::test_forked_processes_never_repeat_a_key_and_nonce",),
    ),
    Plant(
        26,
        "keeping the state before sending",
        {"client.outgoing.Outgoing.seal_now": removals.not_kept},
        (STATE + "test_killed_at_any_moment_no_key_encrypts_two_texts",),
    ),
    Plant(
        27,
        "the deletion of keys that were used",
        {E2EE + "sessions.Sessions.opened": removals.keeping_used_keys},
        (STATE + "test_a_thief_of_the_state_reads_nothing_from_before",),
    ),
    Plant(
        27,
        "fresh keys at each turn",
        {E2EE + "ratchet.Ratchet._turn": removals.turning_with_old_keys},
        (STATE + "test_a_thief_of_the_state_is_shut_out_by_the_next_two_turns",),
    ),
    Plant(
        28,
        "the limit of skipped keys",
        {
            E2EE + "ratchet.SKIP_LIMIT": put(3000),
            E2EE + "pq_ratchet.SKIP_LIMIT": put(3000),
        },
        (MAULING + "test_two_thousand_late_messages_open_and_one_more_is_too_many",),
    ),
    Plant(
        29,
        "the limit of a frame",
        {"crypto_modes.wire.codec._decode": removals.any_length},
        (PARSER + "test_a_bomb_is_refused_and_takes_no_memory",),
    ),
    Plant(
        30,
        "types in the decoder",
        {"crypto_modes.wire.codec._decode": removals.untyped},
        (PARSER + "test_integer_keys_are_refused_wherever_a_map_may_stand",),
    ),
    Plant(
        31,
        "one field in what is signed",
        {"crypto_modes.policy.record": removals.without_created},
        (
            PARSER + "test_a_field_given_twice_is_signed_as_it_is_used",
            PARSER + "test_a_signature_over_other_fields_is_refused",
        ),
    ),
    Plant(
        32,
        "the client's refusal of compression",
        {"client.connection.connect": removals.compressing},
        (PARSER + "test_the_client_offers_no_compression",),
    ),
    Plant(
        32,
        "the relay's refusal of compression",
        {"server.gateway.handshake.ServerProtocol": removals.offering_compression},
        (
            PARSER + "test_the_relay_declines_compression_and_does_not_use_it",
            HANDSHAKE + "test_offered_compression_is_declined",
        ),
    ),
    Plant(
        33,
        "padding",
        {
            E2EE + "body.pad": put(lambda body: body + b"\x80"),
            "crypto_modes.at_rest.pad": put(lambda body: body + b"\x80"),
        },
        (
            STATE + "test_few_sizes_are_seen_on_the_wire",
            "tests/test_e2ee_body.py::test_lengths_say_little",
            "tests/test_at_rest.py::test_lengths_say_little",
        ),
    ),
    Plant(
        35,
        "the check of origins",
        {"server.gateway.handshake.Policy.allows": always(True)},
        (
            STRANGERS + "test_a_page_of_another_origin_is_refused_and_a_cookie_opens_nothing",
            HANDSHAKE + "test_a_page_of_another_origin_is_told_which_line_to_add",
        ),
    ),
    Plant(
        36,
        "the deadlines of those who do not read and do not speak",
        {"server.wheel.Wheel.arm": always(None)},
        (
            STRANGERS + "test_slow_and_silent_connections_hold_nobody_up_and_end",
            "tests/test_gateway_floods.py::test_one_that_sends_but_never_reads_is_closed_in_the_end",
        ),
    ),
    Plant(
        37,
        "one answer for absent and blocking accounts",
        {"server.directory.Directory.peer": removals.telling_who_blocks},
        (
            STRANGERS + "test_crawling_names_is_refused_and_answers_tell_nothing",
            "tests/test_relay.py::test_absent_and_blocking_recipients_are_the_same",
        ),
    ),
    Plant(
        37,
        "the bucket of lookups",
        {"server.limits.Rates.lookup": always(0.0)},
        (STRANGERS + "test_crawling_names_is_refused_and_answers_tell_nothing",),
    ),
    Plant(
        38,
        "the check that a conversation is one's own",
        {"server.conversations.Conversations.peer_of": removals.anybodys},
        (
            STRANGERS + "test_somebody_elses_ids_and_made_up_ones_get_the_same_answers",
            "tests/test_relay.py::test_strangers_learn_nothing_from_a_conversation_id",
        ),
    ),
    Plant(
        39,
        "the place of a record in its AAD",
        {"crypto_modes.at_rest.AtRestServer._bind": removals.bound_to_nothing},
        ("tests/test_at_rest.py::test_no_record_opens_in_the_place_of_another",),
    ),
    Plant(
        40,
        "the list of what a log line may hold",
        {"server.logs._allow": put(lambda logger, name, event: event)},
        (
            STRANGERS + "test_nothing_that_is_said_or_secret_is_logged",
            "tests/test_logs.py::test_40_no_field_can_hold_a_secret_or_break_a_line",
        ),
    ),
    Plant(
        41,
        "the comparison of a report with stamp and commitment",
        {"crypto_modes.franking.equal": always(True)},
        (
            "tests/test_franking.py::test_41_mutated_reports_never_verify",
            "tests/test_franking.py::test_41_another_relay_believes_nothing",
        ),
    ),
)
