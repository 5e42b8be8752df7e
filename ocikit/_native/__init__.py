"""The only C of ocikit: the launcher (a cffi extension) and the static helper that becomes a container's init.

Nothing imports this package but :mod:`ocikit._sys`.
"""
