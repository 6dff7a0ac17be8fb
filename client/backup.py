"""Backing up and restoring: which rows of a key store are kept, and how a new device begins.

What may live here: the two lists of tables, the snapshot, writing it into a new key store, and the
step by which the restored device takes its place. What may not: the file's format, which is
``crypto_modes.backup``.

A restored device is a new one, with keys of its own. Sessions, prekeys and tokens are never kept:
two devices that step one ratchet encrypt two messages with one key, the one that goes back reads
what was meant to be gone, and nobody can tell them apart (attacks.md 7, 26, 27). So whoever steals
a backup and its recovery key is seen, as another device on the list, and reads no message that was
under way. The device that made the backup is taken off the list: it is lost, or else the other
would have been linked by it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from client.key_watch import KeyWatch
from client.keys import OwnKeys
from client.keystore import Keystore
from client.memory import Identity as Device
from client.memory import Memory
from client.trust import Trust, now_ms
from crypto_modes import backup
from crypto_modes.backup import About, Row
from crypto_modes.contract import ID_SIZE, ClientTools, NeedDevices
from crypto_modes.e2ee import peers
from crypto_modes.e2ee.identity import Identity
from crypto_modes.e2ee.linker import Linker
from crypto_modes.errors import BadArgument, BadConfig, KeyRefused, LogRefused, RemoteError

# History, whom and what this user believes, and how far he had come.
KEPT = (
    "client_acquainted",
    "client_alterations",
    "client_cursors",
    "client_messages",
    "client_names",
    "client_releases",
    "client_team",
    "client_timers",
    "client_withheld",
    "e2ee_handed",
    "e2ee_heard",
    "e2ee_offers",
    "e2ee_peers",
    "key_log",
    "key_log_admitted",
    "key_log_claims",
    "key_log_heard",
    "key_log_own",
    "policies",
    "policy_spans",
)
# What belongs to one device alone, or must not outlive it: its keys, sessions and token, messages
# under way, and what disappears, with the messages it is about.
LEFT = (
    "client_expiry",
    "client_identity",
    "client_outgoing",
    "client_restored",
    "client_saves",
    "client_uploads",
    "e2ee_active",
    "e2ee_crossed",
    "e2ee_inactive",
    "e2ee_own",
    "e2ee_prekeys",
    "e2ee_recent",
    "e2ee_replays",
    "e2ee_said",
    "e2ee_skipped",
)
_RESTORED = "client_restored"  # b"" -> the device that made the backup, until its place is taken
_EXPIRY, _MESSAGES, _ALTERATIONS = "client_expiry", "client_messages", "client_alterations"
_DUE_SIZE = 8


def create(keystore: Keystore, url: str, file: Path, key: bytes) -> int:
    """Write a backup of ``keystore`` under the recovery key ``key``; how many rows it has.

    One consistent state: nobody else can change the store meanwhile. The file is whole or not
    there. Raises ``BadArgument`` before the first connection, ``BadConfig`` where the file exists
    or cannot be written.
    """
    device = Memory(keystore).identity()
    if not device.account:
        raise BadArgument("there is nothing to back up yet: register or log in first")
    count = 0

    def counted() -> Iterator[Row]:
        nonlocal count
        for row in _snapshot(keystore):
            count += 1
            yield row

    about = _about(keystore, device, url)
    with _written(file) as out:
        for piece in backup.seal(
            key, os.urandom(backup.SALT_SIZE), backup.records(about, counted())
        ):
            out.write(piece)
    return count


def look(file: Path, key: bytes) -> About:
    """Whose backup this is; only its beginning is read. Raises ``CannotOpen`` or ``BadConfig``."""
    with _reading(file) as opened:
        return backup.contents(backup.open_(key, opened.read))[0]


def restore(file: Path, key: bytes, keystore: Keystore) -> About:
    """Write a backup into a new, empty key store, as the memory of a new device.

    All of it or nothing. Connect next: then it takes its place among the account's devices.
    Raises ``CannotOpen`` for another recovery key or a file that was altered or cut off,
    ``BadArgument`` where the key store is somebody's already, ``BadConfig``.
    """
    if Memory(keystore).identity().account:
        raise BadArgument("this key store is in use; restore a backup into a new profile")
    with _reading(file) as opened, keystore.transaction():
        about, rows = backup.contents(backup.open_(key, opened.read))
        for table, row_key, value in rows:
            # A table of a later version is nothing that this program would know how to read.
            if table in KEPT:
                keystore.put(table, row_key, value)
        _become(keystore, about)
    return about


class Backups:
    """The backups of one chat."""

    def __init__(self, memory: Memory, trust: Trust, keys: OwnKeys, watch: KeyWatch) -> None:
        self._memory = memory
        self._trust = trust
        self._keys = keys
        self._watch = watch

    async def take_place(self) -> bool:
        """After a restore: sign a list that names this device and no longer the one that made the
        backup, and publish it with fresh prekeys; whether there was anything to do.

        Done when it returns, and done again after a crash. Raises ``KeyRefused`` or ``LogRefused``,
        with nothing published, where the key log says that the account key was replaced since,
        that there is a newer list than the relay shows, or something else that is not right.
        """
        store, own = self._memory.store, self._trust.account_id
        lost = store.get(_RESTORED, b"")
        if lost is None:
            return False
        client = self._trust.verifying()
        linker = getattr(client, "linker", None)
        if isinstance(linker, Linker) and linker.holds_account_key():
            await self._check_log()
            await self._trust.satisfy(NeedDevices(own))
            before = store.get(peers.PEERS, own)
            await self._trust.resolve(lambda: linker.enlist(lost))
            try:
                await self._keys.publish_of(client)
            except RemoteError:
                # Another device changed the list meanwhile: believe what the relay has, again.
                if before is not None:
                    store.put(peers.PEERS, own, before)
                raise
        store.delete(_RESTORED, b"")
        return True

    async def _check_log(self) -> None:
        """Before a list is signed on what the relay shows of this account: a list on top of an old
        one would put a removed device back, and one under an old key would be a second account.
        """
        try:
            await self._watch.watch()
        except (KeyRefused, LogRefused) as error:
            raise type(error)(
                f"{error}. So nothing was published: this backup takes no place in the account. Log"
                " in with a new profile, and link that from a device that is in it"
            ) from None


def _snapshot(keystore: Keystore) -> Iterator[Row]:
    disappearing = {key[_DUE_SIZE:] for key, _ in keystore.scan(_EXPIRY)}
    # With what alters them: an edit is a message of its own, without a time of its own.
    with_edits = disappearing.union(
        place[:ID_SIZE] + ids[at : at + ID_SIZE]
        for place in disappearing
        for ids in (keystore.get(_ALTERATIONS, place) or b"",)
        for at in range(0, len(ids), ID_SIZE)
    )
    left = {_MESSAGES: with_edits, _ALTERATIONS: disappearing}
    for table in KEPT:
        for key, value in keystore.scan(table):
            if key not in left.get(table, ()):
                yield table, key, value


def _about(keystore: Keystore, device: Device, url: str) -> About:
    own = _keys(keystore, device.account, device.device).load()
    return About(
        created=now_ms(),
        relay=device.relay,
        account=device.account,
        device=device.device,
        name=device.name,
        url=url,
        key=b"" if own is None else own.account_key,
        seed=b"" if own is None else own.account_seed,
        version=0 if own is None else own.version,
    )


def _become(keystore: Keystore, about: About) -> None:
    """A new device of the same account at the same relay, with fresh keys and no token."""
    device = os.urandom(ID_SIZE)
    made = Device(device=device, name=about.name, account=about.account, relay=about.relay)
    Memory(keystore).keep_identity(made)
    keystore.put(_RESTORED, b"", about.device)
    if not about.seed:
        # It can only be linked, by a device that holds the account key.
        keystore.delete(peers.PEERS, about.account)
        return
    own = _keys(keystore, about.account, device)
    drafted = own.draft()
    drafted.account_key, drafted.account_seed = about.key, about.seed
    drafted.version = about.version
    own.save(drafted)


def _keys(keystore: Keystore, account: bytes, device: bytes) -> Identity:
    tools = ClientTools(
        account=account, device=device, state=keystore, random=os.urandom, now=now_ms
    )
    return Identity(tools)


@contextlib.contextmanager
def _written(file: Path) -> Iterator[IO[bytes]]:
    """A new file for its owner's eyes only, under its name once it is whole and on the disk."""
    part = file.with_name(f".{file.name}.part")
    try:
        if file.exists():
            raise BadConfig(f"{file} exists; name another file")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        part.rename(file)
    except OSError as error:
        raise BadConfig(f"cannot write {file}: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def _reading(file: Path) -> Iterator[IO[bytes]]:
    try:
        opened = file.open("rb")
    except OSError as error:
        raise BadConfig(f"cannot read {file}: {error.strerror}") from None
    with opened:
        yield opened
