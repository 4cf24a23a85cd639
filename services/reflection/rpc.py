"""`grpc.reflection.v1.ServerReflection`, and the same under its older name v1alpha, which some tools still ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from protobuf import Oneof

from services.contracts.grpc.reflection.v1 import reflection_pb as v1
from services.contracts.grpc.reflection.v1.reflection_connect import ServerReflection
from services.contracts.grpc.reflection.v1alpha import reflection_pb as v1alpha
from services.contracts.grpc.reflection.v1alpha.reflection_connect import ServerReflection as ServerReflectionAlpha

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.reflection.service import Catalogue

_NOT_FOUND, _UNIMPLEMENTED = 5, 12
"""gRPC's numbers for NOT_FOUND and UNIMPLEMENTED."""


class Reflection(ServerReflection):
    """Answers from a catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def server_reflection_info(
        self,
        request: AsyncIterator[v1.ServerReflectionRequest],
        ctx: Any,  # noqa: ARG002
        /,
    ) -> AsyncIterator[v1.ServerReflectionResponse]:
        async for asked in request:
            yield _answer(v1, self._catalogue, asked)


class ReflectionAlpha(ServerReflectionAlpha):
    """The same, as it was called before."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def server_reflection_info(
        self,
        request: AsyncIterator[v1alpha.ServerReflectionRequest],
        ctx: Any,  # noqa: ARG002
        /,
    ) -> AsyncIterator[v1alpha.ServerReflectionResponse]:
        async for asked in request:
            yield _answer(v1alpha, self._catalogue, asked)


def _answer(version: Any, catalogue: Catalogue, asked: Any) -> Any:
    """A response in the messages of this version: they have the same fields."""
    question = asked.message_request
    kind, what = (question.field, question.value) if question is not None else ("", "")
    answer: Any
    if kind == "list_services":
        listed = [version.ServiceResponse(name=name) for name in catalogue.services]
        answer = Oneof("list_services_response", version.ListServiceResponse(service=listed))
    elif kind in ("file_by_filename", "file_containing_symbol"):
        files = catalogue.by_name(what) if kind == "file_by_filename" else catalogue.by_symbol(what)
        if files:
            answer = Oneof("file_descriptor_response", version.FileDescriptorResponse(file_descriptor_proto=files))
        else:
            answer = _error(version, _NOT_FOUND, "nothing of this name is served here")
    else:  # extensions are of proto2, and there are none
        answer = _error(version, _UNIMPLEMENTED, "the contracts here have no extensions")
    return version.ServerReflectionResponse(valid_host=asked.host, original_request=asked, message_response=answer)


def _error(version: Any, code: int, words: str) -> Any:
    return Oneof("error_response", version.ErrorResponse(error_code=code, error_message=words))
