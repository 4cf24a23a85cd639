"""`ca.crl` holds the lists of several authorities, also of those below an anchor: each counts, none may go missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.issuer import Issuer
from tests.support.server import eventually
from tests.support.trust import Client, Trusting, trusting

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trusting]:
    with trusting(tmp_path_factory.mktemp("lists")) as made:
        yield made


def pem(*issuers: Issuer) -> bytes:
    return b"".join(issuer.certificate.public_bytes(Encoding.PEM) for issuer in issuers)


def client_below(there: Trusting, between: Issuer, name: str) -> Client:
    """A client of an intermediate, which it sends along."""
    client = there.client(name, issuer=between)
    with (client.folder / "tls.crt").open("ab") as chain:
        chain.write(pem(between))
    return client


def put(there: Trusting, data: bytes) -> None:
    after = there.server.log_end()
    there.put("ca.crl", data)
    there.taken_up(after)


def test_two_anchors(there: Trusting) -> None:
    """One list each, in one file: a client of either is refused by the list of its own."""
    other = Issuer("The other CA")
    after = there.server.log_end()
    there.put("ca.crt", pem(there.issuer, other))
    there.taken_up(after)
    ann, ben, cal = there.client("ann"), there.client("ben", issuer=other), there.client("cal", issuer=other)
    put(there, there.issuer.revocation_list(ann.serial) + other.revocation_list(ben.serial))
    assert "revoked" in ann.refusal().lower()
    assert "revoked" in ben.refusal().lower()
    assert cal.refusal() == "let in"


def test_an_intermediate_s_list(there: Trusting) -> None:
    """With its certificate beside it, since the bundle has the root alone; open connections end by it as well."""
    between = there.issuer.below("Between")
    dan, eve = client_below(there, between, "dan"), client_below(there, between, "eve")
    with dan.h2() as going, eve.h2() as staying:
        assert going.get().status == staying.get().status == 200
        put(there, there.issuer.revocation_list() + pem(between) + between.revocation_list(dan.serial))
        going.ending()
        assert staying.get().status == 200
    assert "revoked" in dan.refusal().lower()
    assert eve.refusal() == "let in"


def test_an_intermediate_that_is_revoked(there: Trusting) -> None:
    """The root's list has it: whoever it issued to is cut and refused."""
    between = there.issuer.below("Between")
    fay, gus = client_below(there, between, "fay"), there.client("gus")
    with fay.h2() as going:
        assert going.get().status == 200
        put(there, there.issuer.revocation_list(between.certificate.serial_number))
        going.ending()
    assert "revoked" in fay.refusal().lower()
    assert gus.refusal() == "let in"


def test_an_intermediate_s_list_cannot_be_taken_away(there: Trusting) -> None:
    """It is refused to do without it, as without an anchor's, for as long as the root is trusted."""
    between = there.issuer.below("Between")
    hal = client_below(there, between, "hal")
    root_s = there.issuer.revocation_list()
    put(there, root_s + pem(between) + between.revocation_list(hal.serial))
    after = there.server.log_end()
    there.put("ca.crl", there.issuer.revocation_list(number=2))
    assert "Between is gone" in there.server.logged("reload refused", after)[0]
    assert "revoked" in hal.refusal().lower()


def test_a_list_of_an_intermediate_that_nobody_vouches_for(there: Trusting) -> None:
    """A stranger's authority beside its list does not make the list one of ours."""
    stranger = Issuer("Stranger")
    after = there.server.log_end()
    there.put("ca.crl", pem(stranger) + stranger.revocation_list())
    assert "signed by no authority" in there.server.logged("reload refused", after)[0]


def test_two_lists_of_one_date(there: Trusting) -> None:
    """OpenSSL's store takes the first of two with one lastUpdate, and lets the revoked in: the newer number counts."""
    ida, jon = there.client("ida"), there.client("jon")
    put(there, there.issuer.revocation_list(ida.serial, number=5))
    put(there, there.issuer.revocation_list(ida.serial, jon.serial, number=6))
    assert "revoked" in jon.refusal().lower()
    first, second = (
        there.issuer.revocation_list(*serials, number=number) for serials, number in (((), 7), ((jon.serial,), 8))
    )
    for data in (first + second, second + first):
        put(there, data)
        assert "revoked" in jon.refusal().lower()
    eventually(lambda: ida.refusal() == "let in")
