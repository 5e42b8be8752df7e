"""How the kinds of policy.json are written: for each class its ``type`` and its keys, as tables.

One description serves reading and writing (:mod:`ocikit.image.signature.document`), so that the two
cannot drift apart.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from ocikit._tuples import NamedTuple
from ocikit.image.signature import identity, requirements

__all__ = ["IDENTITIES", "KEYS", "NESTED", "REQUIREMENTS", "Key", "Kind"]

#: What stands at a key: a string, base64 of bytes, a list of either, a signed identity, or another table.
Kind = Literal["string", "bytes", "strings", "byte lists", "identity", "fulcio", "pki"]


class Key(NamedTuple):
    """One key of an object.

    Attributes:
        json: The key in the document.
        name: The attribute in the class.
        kind: What stands there.
        required: Whether the object is malformed without it.
    """

    json: str
    name: str
    kind: Kind = "string"
    required: bool = False


#: The kinds of requirement, by their ``type``.
REQUIREMENTS: Final[dict[str, type[Any]]] = {
    "insecureAcceptAnything": requirements.InsecureAcceptAnything,
    "reject": requirements.Reject,
    "signedBy": requirements.SignedBy,
    "signedBaseLayer": requirements.SignedBaseLayer,
    "sigstoreSigned": requirements.SigstoreSigned,
}

#: The kinds of signed identity, by their ``type``.
IDENTITIES: Final[dict[str, type[Any]]] = {
    "matchExact": identity.MatchExact,
    "matchRepoDigestOrExact": identity.MatchRepoDigestOrExact,
    "matchRepository": identity.MatchRepository,
    "exactReference": identity.ExactReference,
    "exactRepository": identity.ExactRepository,
    "remapIdentity": identity.RemapIdentity,
    "matchDigest": identity.MatchDigest,
}

#: Objects without a ``type``, by the kind of the key they stand at.
NESTED: Final[dict[str, type[Any]]] = {"fulcio": requirements.Fulcio, "pki": requirements.Pki}

#: The keys of each class, in the order in which they are written.
KEYS: Final[dict[type[Any], tuple[Key, ...]]] = {
    requirements.InsecureAcceptAnything: (),
    requirements.Reject: (),
    requirements.SignedBy: (
        Key("keyType", "key_type", required=True),
        Key("keyPath", "key_path"),
        Key("keyPaths", "key_paths", "strings"),
        Key("keyData", "key_data", "bytes"),
        Key("signedIdentity", "signed_identity", "identity"),
    ),
    requirements.SignedBaseLayer: (Key("baseLayerIdentity", "base_layer_identity", "identity", required=True),),
    requirements.SigstoreSigned: (
        Key("keyPath", "key_path"),
        Key("keyPaths", "key_paths", "strings"),
        Key("keyData", "key_data", "bytes"),
        Key("keyDatas", "key_datas", "byte lists"),
        Key("fulcio", "fulcio", "fulcio"),
        Key("pki", "pki", "pki"),
        Key("rekorPublicKeyPath", "rekor_public_key_path"),
        Key("rekorPublicKeyPaths", "rekor_public_key_paths", "strings"),
        Key("rekorPublicKeyData", "rekor_public_key_data", "bytes"),
        Key("rekorPublicKeyDatas", "rekor_public_key_datas", "byte lists"),
        Key("signedIdentity", "signed_identity", "identity"),
    ),
    requirements.Fulcio: (
        Key("caPath", "ca_path"),
        Key("caData", "ca_data", "bytes"),
        Key("oidcIssuer", "oidc_issuer", required=True),
        Key("subjectEmail", "subject_email", required=True),
    ),
    requirements.Pki: (
        Key("caRootsPath", "ca_roots_path"),
        Key("caRootsData", "ca_roots_data", "bytes"),
        Key("caIntermediatesPath", "ca_intermediates_path"),
        Key("caIntermediatesData", "ca_intermediates_data", "bytes"),
        Key("subjectEmail", "subject_email"),
        Key("subjectHostname", "subject_hostname"),
    ),
    identity.MatchExact: (),
    identity.MatchRepoDigestOrExact: (),
    identity.MatchRepository: (),
    identity.ExactReference: (Key("dockerReference", "docker_reference", required=True),),
    identity.ExactRepository: (Key("dockerRepository", "docker_repository", required=True),),
    identity.RemapIdentity: (
        Key("prefix", "prefix", required=True),
        Key("signedPrefix", "signed_prefix", required=True),
    ),
    identity.MatchDigest: (),
}
