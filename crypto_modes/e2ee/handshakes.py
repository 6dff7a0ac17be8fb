"""Beginning sessions, from either side, out of what a client keeps.

What may live here: fetching the inputs of ``pqxdh.py`` (identity, peers, bundles, policy digest)
and making a session of its result. What may not: the derivation itself, the life of a session.
"""

from __future__ import annotations

from collections.abc import Iterable

from crypto_modes import wire
from crypto_modes.contract import NO_DIGEST, ClientTools, Need, NeedBundles
from crypto_modes.e2ee import pqxdh, session
from crypto_modes.e2ee.header import First
from crypto_modes.e2ee.identity import Identity, check_bundle
from crypto_modes.e2ee.peers import Peers
from crypto_modes.e2ee.pqxdh import Context, Party, Prekeys
from crypto_modes.e2ee.session import Session
from crypto_modes.errors import KeyRefused, UnknownDevice
from crypto_modes.keys import AgreementKey, SigningKey

BUNDLE_LIMIT = 256
NO_CONVERSATION = bytes(16)


class Handshakes:
    """The handshakes of one client."""

    __slots__ = ("_bundles", "_identity", "_peers", "_tools", "_wanted")

    def __init__(self, tools: ClientTools, identity: Identity, peers: Peers) -> None:
        self._tools = tools
        self._identity = identity
        self._peers = peers
        # Bundles live for one attempt and are public: losing them costs one more request.
        self._bundles: dict[bytes, wire.Bundle] = {}
        self._wanted: dict[bytes, frozenset[bytes]] = {}

    def require(self, account: bytes, devices: Iterable[bytes]) -> None:
        """Raises ``Need`` for the bundles that are missing to begin sessions with ``devices``."""
        missing = tuple(device for device in devices if account + device not in self._bundles)
        if missing:
            self._wanted[account] = frozenset(missing)
            raise Need(NeedBundles(account, missing))

    def take(self, frame: wire.Keys) -> None:
        """Verify and keep bundles.

        Raises:
            KeyRefused: a prekey does not verify, or is of no listed device.
            UnknownDevice: the relay has no bundle for a device that was asked for.
        """
        known = self._peers.known(frame.account)
        if known is None:
            raise KeyRefused("prekeys of an account whose devices are not verified yet")
        now = self._tools.now()
        for bundle in frame.bundles:
            party = known.devices.get(bundle.device)
            if party is None:
                raise KeyRefused("prekeys of a device that is on no verified list")
            check_bundle(party, bundle, now)
        got = {bundle.device: bundle for bundle in frame.bundles}
        if self._wanted.pop(frame.account, frozenset()) - got.keys():
            raise UnknownDevice("a device of the peer has no prekeys at the relay; try again later")
        if len(self._bundles) + len(got) > BUNDLE_LIMIT:
            self._bundles.clear()
        for device, bundle in got.items():
            self._bundles[frame.account + device] = bundle

    def used(self, peer: bytes) -> None:
        """Forget the bundle of ``account || device``: one-time keys serve one session."""
        self._bundles.pop(peer, None)

    def begin(self, peer: Party, conversation: bytes, epoch: int, policy: bytes) -> Session:
        """A new session with ``peer``, as its initiator. Raises ``KeyRefused``."""
        bundle = self._bundles[peer.account + peer.device]
        me, identity = self._me()
        if peer.account == me.account:
            conversation, epoch, policy = NO_CONVERSATION, 0, NO_DIGEST
        once = bundle.once
        prekeys = Prekeys(bundle.signed.key, b"" if once is None else once.key, bundle.kem.key)
        ephemeral = AgreementKey.generate(self._tools.random)
        context = Context(me, peer, conversation, policy)
        shared, ciphertext = pqxdh.initiate(context, identity, prekeys, ephemeral)
        once_id = 0 if once is None else once.id
        ids = (bundle.signed.id, once_id, bundle.kem.id)
        first = First(ephemeral.public, *ids, epoch, ciphertext)
        fresh = self._tools.random(32)
        return session.initiate(shared, bundle.signed.key, fresh, first, self._tools.now())

    def accept(self, first: First, peer: Party, conversation: bytes, policy: bytes) -> Session:
        """The session a first message begins, as its responder.

        ``policy`` is the digest of the epoch that ``first`` names. Nothing is stored: the message
        must open first. Raises ``CannotOpen`` or ``KeyRefused``.
        """
        me, identity = self._me()
        if peer.account == me.account:
            conversation, policy = NO_CONVERSATION, NO_DIGEST
        secrets = self._identity.secrets(first)
        context = Context(peer, me, conversation, policy)
        shared = pqxdh.respond(context, identity, secrets, first.ephemeral, first.ciphertext)
        signed = secrets[0]
        return session.respond(shared, signed.raw, signed.public, self._tools.now())

    def _me(self) -> tuple[Party, AgreementKey]:
        own = self._identity.require()
        identity = AgreementKey(own.agreement)
        signing = SigningKey(own.signing).public
        ids = (self._tools.account, self._tools.device)
        return Party(*ids, own.account_key, signing, identity.public), identity
