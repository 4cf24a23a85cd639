"""Credentials from a SPIFFE Workload API: what the agent on this machine gives, kept in a folder.

The folder is like any other: sessions and servers that use it take up what changes. Who the workload is, the agent
decides by asking the kernel; no key of ours is needed to ask it. Trusted is the bundle of the workload's own trust
domain, and no federated one. Needs `handclasp[spiffe]`.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from clients.enrolling import Renewed
from clients.errors import ClientError, CredentialProblem, TimedOut, Unreachable
from pki.credential import Credential
from pki.errors import CredentialError, PKIError
from pki.pem import PrivateKey
from pki.trust import TrustBundle

if TYPE_CHECKING:
    from os import PathLike

    from spiffe.workloadapi.x509_context import X509Context

__all__ = ["WorkloadCredential"]

log = logging.getLogger("handclasp.workload")

PATIENCE = 30.0
"""Seconds until there must be a first credential."""


class WorkloadCredential:
    """Keeps a folder at what the Workload API gives, from `start` to `stop`; also a context manager."""

    def __init__(self, folder: str | PathLike[str], socket: str | None = None) -> None:
        """`socket` such as `unix:///run/spire/agent.sock`; None: SPIFFE_ENDPOINT_SOCKET says it.

        Raises ClientError where the package `spiffe` is missing, or no socket is named.
        """
        try:
            from spiffe import WorkloadApiClient
            from spiffe.errors import PySpiffeError
        except ModuleNotFoundError as error:
            if error.name != "spiffe":
                raise
            raise ClientError("the Workload API: a package is not installed: pip install 'handclasp[spiffe]'") from None
        self.folder = Path(folder)
        try:
            self._api = WorkloadApiClient(socket)
        except PySpiffeError as error:
            raise ClientError(f"the Workload API: {_line(error)}: name its socket, unix:///PATH") from error
        self._first = threading.Event()
        self._problem: ClientError | None = None
        self._stream: Any = None

    def start(self, patience: float = PATIENCE) -> Self:
        """Return when the folder holds what the agent gives now.

        Raises Unreachable, TimedOut, CredentialProblem; nothing goes on then.
        """
        self._stream = self._api.stream_x509_contexts(self._given, self._failed)
        if not self._first.wait(patience):
            self._problem = TimedOut(
                "the Workload API: nothing was given in time: is there an entry for this workload?"
            )
        if self._problem is not None:
            self.stop()
            raise self._problem
        return self

    def stop(self) -> None:
        """End; the folder stays as it is."""
        if self._stream is not None:
            self._stream.cancel()
        self._api.close()

    def _given(self, context: X509Context) -> None:
        """Called in a thread of the package's."""
        svid = context.default_svid
        bundle = context.x509_bundle_set.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
        try:
            if bundle is None or not isinstance(svid.private_key, PrivateKey):
                raise CredentialError("no bundle of the workload's own trust domain, or a key of no kind that TLS has")
            credential = Credential(svid.private_key, tuple(svid.cert_chain))
            trust = TrustBundle(tuple(sorted(bundle.x509_authorities, key=lambda authority: authority.serial_number)))
            Renewed(credential, trust).save(self.folder)
        except (CredentialProblem, PKIError) as error:
            self._note(CredentialProblem(f"the Workload API gave what cannot be used: {error}"))
            return
        leaf = credential.leaf
        log.info("took %s into %s, until %s", svid.spiffe_id, self.folder, leaf.not_valid_after_utc)
        self._problem = None
        self._first.set()

    def _failed(self, error: Exception) -> None:
        self._note(Unreachable(f"the Workload API: {_line(error)}"))

    def _note(self, problem: ClientError) -> None:
        """Before the first credential it is raised; behind it, what there is goes on."""
        self._problem = problem
        if self._first.is_set():
            log.warning("%s; the credential before goes on", problem)
        self._first.set()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
