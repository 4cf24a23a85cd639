"""Cedar behind the handshake: `handclasp-serve shop.web:app --authorizer docs.adopt.cedar_engine:may`."""

from pathlib import Path

from cedarpy import PolicySet, is_authorized

from services.authorization.gate import Call

POLICIES = PolicySet.from_str(Path(__file__).with_name("policies.cedar").read_text("utf-8"))


def may(call: Call) -> bool:
    """Ask Cedar whether this caller may use this method on this path."""
    identity = call.peer.identity
    caller = {"type": "Caller", "id": identity.name}
    path = {"type": "Path", "id": call.path}
    names = {
        "emails": list(identity.emails),
        "domains": [email.rpartition("@")[2] for email in identity.emails],
        "uris": list(identity.uris),
        "dns_names": list(identity.dns_names),
    }
    answer = is_authorized(
        {
            "principal": caller,
            "action": {"type": "Action", "id": call.method},
            "resource": path,
            "context": {"protocol": call.protocol, "fingerprint": identity.sha256},
        },
        POLICIES,
        [{"uid": caller, "attrs": names, "parents": []}, {"uid": path, "attrs": {"path": call.path}, "parents": []}],
    )
    return answer.allowed and not answer.diagnostics.errors  # a policy that failed may be the one that forbids
