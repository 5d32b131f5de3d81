"""Takes the bytes of segments and of heads apart, by what they are for (docs/format.md)."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path

UNIT = 16
HEADER = 32
PAGES, COMMIT, INDEX, MARK, HEAD = 1, 2, 3, 4, 5
#: The parts that no fold can do without: each page's image, compressed, and where it is; and the entries.
NEEDED = ("images", "page entries", "entries, in folds")


def names_of(folder: Path) -> dict[int, str]:
    """The targets of the names in `commits/`, by version. A name may be taken away meanwhile."""
    targets = {}
    for path in (folder / "commits").iterdir():
        with suppress(FileNotFoundError):
            targets[int(path.name)] = str(path.readlink())
    return targets


class Reader:
    """Fields, one after the other."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.at = 0

    def skip(self, count: int) -> None:
        """Passes over so many bytes."""
        self.at += count

    def varint(self) -> int:
        """Seven bits a byte, the least significant first."""
        value = shift = 0
        while True:
            byte = self.payload[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def place(self) -> None:
        """Passes over a place."""
        self.skip(8)
        for _ in range(4):
            self.varint()

    def places(self) -> None:
        """Passes over places of pages."""
        for _ in range(self.varint()):
            self.skip(8)
            self.varint()
        self.varint()
        for _ in range(self.varint()):
            for _ in range(4):
                self.varint()
            self.skip(1)
            self.varint()

    def groups(self) -> tuple[int, int]:
        """Passes over groups; how many pages they have, and how many of these are carried."""
        pages = carried = 0
        for _ in range(self.varint()):
            self.varint()
            self.varint()
            for _ in range(self.varint()):
                if slot := self.varint():
                    self.skip(8)
                    pages += 1
                    carried += slot & 1
        return pages, carried


class Parts:
    """How many bytes each part has, and how many there are of what."""

    def __init__(self) -> None:
        self.bytes: Counter[str] = Counter()
        self.count: Counter[str] = Counter()

    def of_segments(self, folder: Path) -> None:
        """Adds what all segments have."""
        for path in sorted((folder / "segments").iterdir()):
            self._segment(path.read_bytes())

    def of_names(self, folder: Path) -> None:
        """Adds what the targets of all names have."""
        for target in names_of(folder).values():
            self.of_head(target, "names")

    def of_head(self, text: str, where: str) -> None:
        """Adds the text of a head: its window, and what surrounds that."""
        window = text.split(" window=")[1].split(" ")[0]
        window = "" if window == "-" else window
        self.bytes[f"entries, in {where}"] += len(window)
        self.bytes[f"rest of {where}"] += len(text) - len(window)
        self.count[where] += 1
        self.count[f"bytes of entries in {where}"] += len(window) * 3 // 4

    def _segment(self, data: bytes) -> None:
        at = 0
        while data[at : at + 4] == b"sea1":
            length = int.from_bytes(data[at + 8 : at + 12], "little")
            payload = data[at + HEADER : at + HEADER + length]
            whole = -(-(HEADER + length) // UNIT) * UNIT
            self.bytes["headers and padding of frames"] += whole - length
            {PAGES: self._pages, COMMIT: self._commit, INDEX: self._index, MARK: self._mark, HEAD: self._head}[
                data[at + 4]
            ](payload)
            at += whole
        self.bytes["torn"] += len(data) - at

    def _pages(self, payload: bytes) -> None:
        reader = Reader(payload)
        reader.skip(44)
        count = reader.varint()
        for _ in range(count):
            reader.varint()
        self.bytes["rest of pages frames"] += reader.at + 1
        self.bytes["images"] += len(payload) - reader.at - 1
        self.count["groups"] += 1
        self.count["pages"] += count

    def _commit(self, payload: bytes) -> None:
        reader = Reader(payload)

        def part(name: str, since: int) -> int:
            self.bytes[name] += reader.at - since
            return reader.at

        reader.skip(16 + 8 + 8 + 16 + 4 + 4)
        ordinal = reader.varint()
        reader.skip(16 + 32)
        if ordinal > 1:
            reader.place()
        reader.varint()
        reader.varint()
        at = part("rest of commit frames", 0)
        window = reader.varint()
        reader.skip(window)
        at = part("entries, in folds", at)
        for _ in range(reader.varint()):
            reader.varint()
            reader.skip(32)
            reader.place()
            reader.varint()
        at = part("jumps", at)
        reader.varint()
        reader.skip(32)
        for _ in range(3):
            reader.varint()
        reader.skip(1)
        if payload[reader.at - 1]:
            reader.skip(8)
            reader.varint()
            reader.skip(4 + 4 + 4)
            reader.varint()
        reader.skip(8)
        reader.varint()
        reader.varint()
        at = part("rest of commit frames", at)
        pages, carried = reader.groups()
        at = part("page entries", at)
        reader.varint()
        runs = reader.varint()
        for _ in range(runs):
            reader.varint()
            reader.varint()
            reader.place()
        at = part("places of runs", at)
        reader.places()
        part("recent", at)
        assert reader.at == len(payload), "a commit frame is understood whole"
        self.count["folds"] += 1
        self.count["runs"] += runs
        self.count["own"] += pages - carried
        self.count["carried"] += carried

    def _index(self, payload: bytes) -> None:
        self.bytes["index frames"] += len(payload)
        self.count["index frames"] += 1

    def _mark(self, payload: bytes) -> None:
        self.bytes["marks"] += len(payload)

    def _head(self, payload: bytes) -> None:
        self.of_head(payload.decode(), "head frames")
