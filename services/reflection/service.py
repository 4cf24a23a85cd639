"""The contracts of what is served, found by what tools ask: a file, a symbol, the list. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from protobuf import DescFile, DescMessage


class Catalogue:
    """The files of these services and all that they import."""

    def __init__(self, services: Iterable[tuple[str, DescFile]]) -> None:
        self._services: list[str] = []
        self._files: dict[str, DescFile] = {}
        self._symbols: dict[str, DescFile] = {}
        for name, file in services:
            self._services.append(name)
            for found in _with_imports(file):
                self._files[found.name] = found
                self._symbols.update((symbol, found) for symbol in _symbols_of(found))

    @property
    def services(self) -> list[str]:
        """Full names, as they were given."""
        return list(self._services)

    def by_name(self, name: str) -> list[bytes]:
        """The file and what it imports, each a FileDescriptorProto; empty where there is none of this name."""
        return _serialized(self._files.get(name))

    def by_symbol(self, symbol: str) -> list[bytes]:
        """The same for the file that declares a service, method, message, field or enumeration."""
        return _serialized(self._symbols.get(symbol))


def _serialized(file: DescFile | None) -> list[bytes]:
    return [] if file is None else [found.proto.to_binary() for found in _with_imports(file)]


def _with_imports(file: DescFile) -> list[DescFile]:
    found: dict[str, DescFile] = {}
    waiting = [file]
    while waiting:
        next_file = waiting.pop()
        if next_file.name not in found:
            found[next_file.name] = next_file
            waiting += next_file.dependencies
    return list(found.values())


def _symbols_of(file: DescFile) -> Iterator[str]:
    for service in file.services:
        yield service.type_name
        yield from (f"{service.type_name}.{method.name}" for method in service.methods)
    for enum in file.enums:
        yield enum.type_name
    for message in file.messages:
        yield from _within(message)


def _within(message: DescMessage) -> Iterator[str]:
    yield message.type_name
    yield from (f"{message.type_name}.{field.name}" for field in message.fields)
    for enum in message.nested_enums:
        yield enum.type_name
    for inner in message.nested_messages:
        yield from _within(inner)
