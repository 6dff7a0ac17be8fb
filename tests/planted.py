"""Faults to plant: each takes one protection away, and names the tests that must then fail.

Only the table lives here; ``removals.py`` says what is planted and ``plants.py`` plants it. A
place is a dotted name where the product looks the protection up.
"""

from __future__ import annotations

from tests import removals
from tests.plant import Plant, fault
from tests.removals import always, put

E2EE = "crypto_modes.e2ee."


PLANTS: tuple[Plant, ...] = (
    fault(
        1,
        "the signature of a device list",
        {E2EE + "devices.verify_list": always(None)},
        "e2ee_keys::test_1_a_device_added_by_the_relay_gets_nothing",
    ),
    fault(
        2,
        "the accounts in a safety number",
        {E2EE + "devices.safety_number": removals.by_key_alone},
        "e2ee_devices::test_2_safety_numbers_depend_on_every_field_and_its_place",
    ),
    fault(
        3,
        "labels in what is authenticated",
        {"crypto_modes.encoding.enc": removals.unlabelled},
        "attack_confusion::test_no_object_is_taken_for_another",
    ),
    fault(
        3,
        "the context that a data key was wrapped for",
        {
            "server.keyrings.file._derive": removals.any_context,
            "server.keyrings.file.aead_seal": removals.without_aad,
            "server.keyrings.file.aead_open": removals.without_aad,
            # A relay that starts looks whether its key service binds contexts.
            "server.keyrings.checked.CheckedKeyring._check": removals.at_once(None),
        },
        "keyrings::test_a_key_wrapped_for_one_place_opens_no_other",
    ),
    fault(
        4,
        "the tag of a record",
        {"crypto_modes.at_rest.aead_open": removals.unauthenticated},
        "at_rest::test_no_byte_of_a_record_can_be_changed",
    ),
    fault(
        4,
        "the tag and the hashes of a file",
        {
            "crypto_modes.attachments.aead_open": removals.unauthenticated,
            "crypto_modes.attachments.equal": always(True),
        },
        "attachments::test_no_byte_of_a_file_may_change",
        "attack_attachments::test_a_relay_that_gives_another_file_gets_nothing_saved",
    ),
    fault(
        4,
        "the place of a chunk in its nonce",
        {"crypto_modes.attachments._nonce": always(bytes(12))},
        "blob_faults::test_at_rest_whatever_is_done_to_the_files_shows",
    ),
    fault(
        5,
        "the look at the relay's numbering",
        {"client.sequence.Sequence._note": removals.in_order},
        "client_hostile::test_5_and_18_missing_and_late_messages_are_marked",
    ),
    fault(
        6,
        "one error for every failure in `e2ee`",
        {E2EE + "receiving.LouverError": put(removals.Nobody)},
        "attack_mauling::test_every_failure_to_open_is_the_same_error_and_changes_nothing",
    ),
    fault(
        6,
        "one error for every failure in `at_rest`",
        {"crypto_modes.at_rest.unpad": removals.saying_why},
        "attack_mauling::test_every_failure_to_read_a_record_is_the_same_error",
    ),
    fault(
        7,
        "the envelope and the header in the AAD",
        {
            E2EE + "session.aead_seal": removals.without_aad,
            E2EE + "session.aead_open": removals.without_aad,
        },
        "e2ee_session::test_7_every_field_of_the_context_is_bound",
        "e2ee_session::test_7_every_bit_of_a_copy_is_bound",
    ),
    fault(
        8,
        "silence about what does not open",
        {"client.incoming.Incoming._unreadable": removals.telling},
        "attack_mauling::test_a_mauled_message_says_nothing_to_anyone_and_harms_no_other",
    ),
    fault(
        9,
        "a session for each pair of devices",
        {E2EE + "session.Session.seal": removals.one_for_all},
        "attack_state::test_every_device_has_a_ciphertext_of_its_own",
    ),
    fault(
        10,
        "algorithm and use in a prekey's signature",
        {E2EE + "devices.signed_prekey": removals.unsigned_kind},
        "attack_confusion::test_a_signed_key_cannot_be_relabelled",
    ),
    fault(
        10,
        "the KEM key in the transcript",
        {E2EE + "pqxdh.transcript": removals.without_kem_key},
        "attack_confusion::test_the_shared_key_depends_on_the_kem_key_beside_the_secret",
    ),
    fault(
        11,
        "one one-time key per requester, device and day",
        {"server.store.sqlite.directory._granted": always(False)},
        "attack_strangers::test_one_requester_gets_one_one_time_key_a_day",
    ),
    fault(
        12,
        "the memory of first messages and used prekeys",
        {E2EE + "identity.Identity.use_up": always(None)},
        "e2ee_sessions::test_12_a_first_message_begins_one_session",
        "e2ee_keys::test_12_a_one_time_key_that_the_relay_gives_out_twice_serves_the_first_alone",
    ),
    fault(
        13,
        "silence about what shows nothing",
        {"client.contents.Contents.take": removals.shown_all_the_same},
        "compose::test_what_shows_nothing_gives_no_receipt",
    ),
    fault(
        14,
        "the pinned key of a peer",
        {E2EE + "peers.Peers.key": removals.unpinned},
        "client::test_14_a_changed_key_stops_until_it_is_accepted",
        "e2ee_keys::test_14_a_changed_account_key_stops_sending_until_it_is_accepted",
    ),
    fault(
        15,
        "the signatures that a weaker mode needs",
        {
            "crypto_modes.pins.Pins._check_link": always(None),
            "crypto_modes.pins.Pins._check_keys": always(None),
        },
        "pins::test_a_relay_cannot_lower_the_floor",
    ),
    fault(
        15,
        "the marks of what is below the floor",
        {"crypto_modes.pins.Pins.note_received": always(())},
        "attack_downgrade::test_an_envelope_in_a_weaker_mode_is_marked_live_and_in_history",
    ),
    fault(
        16,
        "the checks of a bundle",
        {E2EE + "handshakes.check_bundle": always(None)},
        "e2ee_keys::test_16_bundles_cannot_be_weakened",
    ),
    fault(
        17,
        "the memory of messages that were shown",
        {"client.memory.Memory.knows": always(False)},
        "attack_replay::test_each_envelope_is_shown_once_however_often_it_comes",
        "attack_replay::test_an_old_envelope_under_another_number_is_not_shown_again",
        "client_hostile::test_17_a_replayed_message_is_shown_once_also_after_a_restart",
    ),
    fault(
        18,
        "the echo of what was opened",
        {E2EE + "body.Said.answered": always(((), False))},
        "withheld::test_a_withheld_tail_shows_at_the_next_exchange",
    ),
    fault(
        19,
        "the chain of what a device said",
        {E2EE + "body.Heard.note": always(())},
        "e2ee_client::test_5_reordered_messages_say_so",
        "e2ee_client::test_18_a_dropped_message_shows_at_the_next",
        "e2ee_client::test_19_a_rolled_back_sender_shows_as_a_fork",
    ),
    fault(
        20,
        "the account in what account keys and devices sign, and the key log",
        {
            E2EE + "devices.signed_certificate": removals.for_nobody,
            E2EE + "devices.signed_list": removals.for_nobody,
            E2EE + "devices.signed_prekey": removals.for_nobody,
            "client.key_log.KeyLog.admit": removals.admitting_all,
        },
        "attack_confusion::test_bobs_keys_under_carols_name_are_refused",
    ),
    fault(
        20,
        "the parties in the transcript",
        {E2EE + "pqxdh.transcript": removals.without_parties},
        "attack_confusion::test_ends_that_disagree_on_who_they_are_share_no_key",
        "e2ee_pqxdh::test_20_the_key_depends_on_who_shakes_hands",
    ),
    fault(
        21,
        "the agreement with the initiator's identity key",
        {E2EE + "pqxdh._derive": removals.without_first_dh},
        "attack_confusion::test_bobs_identity_key_does_not_make_one_alice",
    ),
    fault(
        22,
        "the check of points at the door",
        {
            "crypto_modes.primitives.ed25519_check": always(None),
            "crypto_modes.primitives.x25519_check": always(None),
        },
        "attack_strangers::test_no_key_of_small_order_is_registered",
        "primitives::test_small_order_agreement_keys_are_refused",
        "primitives::test_small_order_signing_keys_are_refused",
    ),
    fault(
        23,
        "the comparison with the commitment",
        {E2EE + "receiving.equal": always(True)},
        "e2ee_client::test_23_a_copy_of_another_text_than_the_committed_one_is_not_shown",
        "attack_mauling::test_every_failure_to_open_is_the_same_error_and_changes_nothing",
    ),
    fault(
        23,
        "the key commitment of a file",
        {"crypto_modes.attachments.equal": always(True)},
        "attachments::test_an_invisible_salamander_is_refused",
    ),
    fault(
        24,
        "the key commitment of a record and of a wrapped key",
        {"crypto_modes.at_rest.equal": always(True), "server.keyrings.file.equal": always(True)},
        "at_rest::test_a_ciphertext_for_two_keys_opens_under_the_committed_one_alone",
        "keyrings::test_no_byte_of_a_wrapped_key_can_be_changed",
    ),
    fault(
        25,
        "the fresh salt of each record",
        {"crypto_modes.at_rest.AtRestServer.__init__": removals.one_salt},
        "at_rest::test_forked_processes_never_repeat_a_key_and_nonce",
    ),
    fault(
        28,
        "the limit of skipped keys",
        {E2EE + "ratchet.SKIP_LIMIT": put(3000), E2EE + "pq_ratchet.SKIP_LIMIT": put(3000)},
        "attack_mauling::test_two_thousand_late_messages_open_and_one_more_is_too_many",
    ),
    fault(
        29,
        "the limit of a frame",
        {"crypto_modes.wire.codec._decode": removals.any_length},
        "attack_parser::test_a_bomb_is_refused_and_takes_no_memory",
    ),
    fault(
        30,
        "types in the decoder",
        {"crypto_modes.wire.codec._decode": removals.untyped},
        "attack_parser::test_integer_keys_are_refused_wherever_a_map_may_stand",
    ),
    fault(
        31,
        "one field in what is signed",
        {"crypto_modes.policy.record": removals.without_created},
        "attack_parser::test_a_field_given_twice_is_signed_as_it_is_used",
        "attack_parser::test_a_signature_over_other_fields_is_refused",
    ),
    fault(
        32,
        "the client's refusal of compression",
        {"client.connection.connect": removals.compressing},
        "attack_parser::test_the_client_offers_no_compression",
    ),
    fault(
        32,
        "the relay's refusal of compression",
        {"server.gateway.handshake.ServerProtocol": removals.offering_compression},
        "attack_parser::test_the_relay_declines_compression_and_does_not_use_it",
        "gateway_handshake::test_offered_compression_is_declined",
    ),
    fault(
        33,
        "padding",
        {
            E2EE + "body.pad": put(removals.barely_padded),
            E2EE + "body.unpad": put(removals.unpadded),
            "crypto_modes.at_rest.pad": put(removals.barely_padded),
            "crypto_modes.at_rest.unpad": put(removals.unpadded),
        },
        "attack_state::test_few_sizes_are_seen_on_the_wire",
        "e2ee_body::test_lengths_say_little",
        "at_rest::test_lengths_say_little",
    ),
    fault(
        33,
        "padding of files",
        {"crypto_modes.attachments.padded_size": put(lambda size: size)},
        "attachments::test_few_sizes_of_files_are_seen",
    ),
    fault(
        35,
        "the check of origins",
        {"server.gateway.handshake.Policy.allows": always(True)},
        "attack_strangers::test_a_page_of_another_origin_is_refused_and_a_cookie_opens_nothing",
        "gateway_handshake::test_a_page_of_another_origin_is_told_which_line_to_add",
    ),
    fault(
        36,
        "the deadlines of those who do not read and do not speak",
        {"server.wheel.Wheel.arm": always(None)},
        "attack_strangers::test_slow_and_silent_connections_hold_nobody_up_and_end",
        "gateway_floods::test_one_that_sends_but_never_reads_is_closed_in_the_end",
    ),
    fault(
        37,
        "one answer for absent and blocking accounts",
        {"server.directory.Directory.peer": removals.telling_who_blocks},
        "attack_strangers::test_crawling_names_is_refused_and_answers_tell_nothing",
        "relay::test_absent_and_blocking_recipients_are_the_same",
    ),
    fault(
        37,
        "the bucket of lookups",
        {"server.limits.Rates.lookup": always(0.0)},
        "attack_strangers::test_crawling_names_is_refused_and_answers_tell_nothing",
    ),
    fault(
        38,
        "the check that a conversation is one's own",
        {"server.conversations.Conversations.peer_of": removals.anybodys},
        "attack_strangers::test_somebody_elses_ids_and_made_up_ones_get_the_same_answers",
        "relay::test_strangers_learn_nothing_from_a_conversation_id",
    ),
    fault(
        38,
        "the check that an attachment is one's own",
        {"server.blobs.Blobs._own": removals.anybodys_upload},
        "blob_access::test_strangers_learn_nothing_of_an_attachment",
    ),
    fault(
        39,
        "the place of a record in its AAD",
        {"crypto_modes.at_rest.AtRestServer._bind": removals.bound_to_nothing},
        "at_rest::test_no_record_opens_in_the_place_of_another",
    ),
    fault(
        40,
        "the list of what a log line may hold",
        {"server.logs._allow": put(lambda logger, name, event: event)},
        "attack_strangers::test_nothing_that_is_said_or_secret_is_logged",
        "logs::test_40_no_field_can_hold_a_secret_or_break_a_line",
    ),
    fault(
        41,
        "the comparison of a report with stamp and commitment",
        {"crypto_modes.franking.equal": always(True)},
        "franking::test_41_mutated_reports_never_verify",
        "franking::test_41_another_relay_believes_nothing",
    ),
    fault(
        42,
        "the end of a revoked device's session",
        {"server.delivery.Delivery.event": removals.deaf_to_revocation},
        "admin::test_42_a_revoked_account_is_out_at_once_and_others_stay",
        "sessions::test_revocation_closes_the_socket_and_the_token",
    ),
)
