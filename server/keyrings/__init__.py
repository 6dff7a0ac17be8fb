"""Keyrings: the relay's own keys, one file per provider or kind.

Only this sentence lives here; the Protocols are ``crypto_modes.keyring.Keyring`` and the
``DataKeys`` and ``FrankingKeys`` of ``crypto_modes.contract``. Key-encryption keys and franking
keys are independent secrets: none is derived from another.
"""
