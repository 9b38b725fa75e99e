"""What the campaign has tried, by kind: endings, faults, an example of each; kept in a file of JSON lines."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from campaign.judge import STATUSES, Run, Verdict


@dataclass
class Book:
    """What was tried, by kind: endings and faults; and the inputs that showed a fault, kept in a folder."""

    kept_in: Path | None = None
    endings: dict[str, Counter[str]] = field(default_factory=dict)
    faults: dict[str, Counter[str]] = field(default_factory=dict)
    examples: dict[tuple[str, str], str] = field(default_factory=dict)
    cpu_s: dict[str, float] = field(default_factory=dict)
    most: dict[str, int] = field(default_factory=dict)

    def note(self, kind: str, one: Run, verdict: Verdict, folder: Path, label: str) -> None:
        self.endings.setdefault(kind, Counter())[verdict.ending] += 1
        self.cpu_s[kind] = self.cpu_s.get(kind, 0.0) + verdict.cpu_s
        self.most[kind] = max(self.most.get(kind, 0), verdict.memory)
        for fault in verdict.faults:
            self.faults.setdefault(kind, Counter())[fault] += 1
            if (kind, fault) not in self.examples:
                said = verdict.told[-300:].strip()
                self.examples[kind, fault] = f"affcli {' '.join(one.arguments)} | {label} | {said}"
                self._keep(one, folder, label)

    def _keep(self, one: Run, folder: Path, label: str) -> None:
        if self.kept_in is None:
            return
        target = self.kept_in / re.sub(r"[^\w.-]+", "-", label)
        target.mkdir(parents=True, exist_ok=True)
        (target / "command").write_text(json.dumps({"arguments": list(one.arguments), "stdin": one.stdin}))
        source = folder / one.damaged
        if source.is_dir():
            shutil.copytree(source, target / one.damaged, dirs_exist_ok=True)
        elif source.is_file():
            shutil.copy(source, target / one.damaged)

    def add(self, other: Book) -> None:
        """What another book has, too."""
        for ours, theirs in ((self.endings, other.endings), (self.faults, other.faults)):
            for kind, counts in theirs.items():
                ours.setdefault(kind, Counter()).update(counts)
        for kind, seconds in other.cpu_s.items():
            self.cpu_s[kind] = self.cpu_s.get(kind, 0.0) + seconds
            self.most[kind] = max(self.most.get(kind, 0), other.most[kind])
        self.examples = {**other.examples, **self.examples}

    def append_to(self, file: Path, kind: str, seed: int, numbers: range) -> None:
        """Adds a line for these inputs to a file, which `read` takes in again."""
        line = {"kind": kind, "seed": seed, "first": numbers.start, "stop": numbers.stop}
        line |= {"endings": self.endings.get(kind, {}), "faults": self.faults.get(kind, {})}
        line |= {"cpu_s": self.cpu_s.get(kind, 0.0), "most": self.most.get(kind, 0)}
        line["examples"] = {fault: text for (_, fault), text in self.examples.items()}
        with file.open("a") as stream:
            stream.write(json.dumps(line) + "\n")

    def read(self, file: Path) -> set[tuple[str, int, int, int]]:
        """Takes in the lines of a file; tells which inputs they are of: kind, seed, first number, last and one."""
        done = set()
        for line in map(json.loads, file.read_text().splitlines()):
            kind = line["kind"]
            done.add((kind, line["seed"], line["first"], line["stop"]))
            examples = {(kind, fault): text for fault, text in line["examples"].items()}
            one = Book(None, {kind: Counter(line["endings"])}, {kind: Counter(line["faults"])}, examples)
            one.cpu_s, one.most = {kind: line["cpu_s"]}, {kind: line["most"]}
            self.add(one)
        return done

    @property
    def faulty(self) -> int:
        return sum(sum(counts.values()) for counts in self.faults.values())

    def __str__(self) -> str:
        heads = ("tried", *STATUSES, "other", "faults", "ms", "peak MB")
        lines = [f"{'kind':<16}" + "".join(f"{head:>9}" for head in heads)]
        for kind, endings in self.endings.items():
            tried = sum(endings.values())
            known = [endings[str(status)] for status in STATUSES]
            faults = sum(self.faults.get(kind, {}).values())
            figures = [tried, *known, tried - sum(known), faults, round(1000 * self.cpu_s[kind] / tried)]
            lines.append(f"{kind:<16}" + "".join(f"{n:>9}" for n in (*figures, self.most[kind] >> 20)))
        for (kind, fault), text in self.examples.items():
            lines.append(f"  {kind}: {fault} ({self.faults[kind][fault]}): {text}")
        return "\n".join(lines)
