"""A `handclasp.toml` to begin with: commented, and right as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pki.keys import KeyType

_TEXT = """\
# What shall be. `handclasp-pki apply` shows what it takes, asks, and does it; as often as you like:
#
#   handclasp-pki apply --plan        show it alone; exit 3 where there is something to do
#   handclasp-pki apply               show it, ask, do it
#   handclasp-pki apply --yes         from cron or a timer: it also renews what is due
#   handclasp-pki apply --prune       revoke the names, too, that are not described here any more
#
# Settings of handclasp-serve may stand here as well, above the first table:
# bind = ["0.0.0.0:8443"]

[authority]
name = {name}
key = "{key}"                     # p256, p384, p521, ed25519, rsa3072, rsa4096
days = {days}                      # of an authority that is made; `rotate-ca` replaces one
# intermediate = true            # below a root, whose key goes offline

# What the certificates of a profile have where their names say nothing else.
[profiles.server]
days = 30

[profiles.client]
days = 7

# A table a name. Its profile is server, client, or peer, which is both. One with a dot is quoted: [names."a.example"]
[names.localhost]
profile = "server"
dns = "localhost"
ip = ["127.0.0.1", "::1"]

[names.alice]
profile = "client"
email = "alice@example.com"

# [names.billing]
# profile = "peer"
# uri = "spiffe://example.com/billing"
# dns = ["billing.internal"]
# days = 14
# key = "ed25519"
# out = "/etc/billing/tls"       # where its credential is, in the place of the state folder
"""


def starter(name: str, key: KeyType, days: int) -> str:
    """The text of the file, for an authority of this name."""
    quoted = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return _TEXT.format(name=quoted, key=key, days=days)
