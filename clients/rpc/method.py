"""A method of a contract: where it is, what it takes and gives, and whether it may be called twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from protobuf import Message

if TYPE_CHECKING:
    from typing import Self

I = TypeVar("I", bound=Message)  # noqa: E741 - input
O = TypeVar("O", bound=Message)  # noqa: E741 - output

_REPEATABLE = ("NO_SIDE_EFFECTS", "IDEMPOTENT")


@dataclass(frozen=True, slots=True)
class Method(Generic[I, O]):
    """One method; `Method.of` reads it from the contract."""

    path: str
    request: type[I]
    response: type[O]
    repeatable: bool
    """Whether the contract says that calling it twice does what calling it once does (`idempotency_level`)."""

    @classmethod
    def of(cls, name: str, request: type[I], response: type[O]) -> Self:
        """The method `package.Service/Method`, which takes and gives these messages.

        Raises LookupError where the contract of the messages has no such method, or it has other messages.
        """
        service_name, _, method_name = name.strip("/").partition("/")
        for service in request.desc().file.services:
            for method in service.methods:
                if (service.type_name, method.name) == (service_name, method_name):
                    if (method.input.type, method.output.type) != (request, response):
                        raise LookupError(f"{name} takes {method.input.type_name}, gives {method.output.type_name}")
                    repeatable = str(method.idempotency) in _REPEATABLE
                    return cls(f"/{service_name}/{method_name}", request, response, repeatable)
        raise LookupError(f"the contract of {request.__name__} has no method {name}")
