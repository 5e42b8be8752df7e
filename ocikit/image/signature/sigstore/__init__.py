"""sigstore signatures: by keys, and by certificates that a transparency log or an authority of one's own vouches for.

Everything here is offline: what proves a signature comes with it, and what it is held against is in the policy.
"""
