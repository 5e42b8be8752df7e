"""OpenPGP for verification: keyrings, and messages that are signed (RFC 9580, and RFC 4880 before it).

* :mod:`.packets`, :mod:`.armor`, :mod:`.subpackets`: the forms that everything has
* :mod:`.algorithms`, :mod:`.keys`, :mod:`.signatures`: keys, and what they make
* :mod:`.certificate`, :mod:`.validity`, :mod:`.keyring`: who owns keys, and which of them may sign
* :mod:`.message`: what is signed

The room has no secret keys, opens nothing and asks nobody. It makes no signatures and decrypts nothing.
"""
