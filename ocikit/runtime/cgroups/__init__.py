"""Control groups: where they are, whose they are, made, limited, frozen, emptied and removed.

What a configuration asks for is turned into writes in :mod:`ocikit.runtime.limits`; the hierarchies may belong to
systemd (:mod:`ocikit.runtime.systemd`).
"""
