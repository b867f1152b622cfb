"""What runs over a folder of cases have in common: resumed, shared between processes, one bad case alone."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields
from pathlib import Path
from queue import SimpleQueue
from typing import Any, ClassVar, Generic, TypeVar, cast

from medfs.errors import ExitCode, MedfsError, UsageError
from medfs.inference.final_report import remove_final_report, write_final_report
from medfs.inference.records import (
    REPORT,
    CaseRecord,
    append_record,
    exit_code,
    is_done,
    report_bytes,
)
from medfs.inference.sharing import SharedCases
from medfs.io import atomic, make_folder

_STALE_TEMPORARY_S = 600.0

Record = TypeVar("Record", bound=CaseRecord)


class CaseRun(Generic[Record]):
    """A run over the cases of a folder; a class of its own says what is done with a case and what is written.

    Such a class has these as attributes or properties: ``output``, the folder of the results, made if missing;
    ``parameters``, all that the results depend on besides the input; ``part``, which part of the cases to do and of how
    many parts, for a job of a cluster: (2, 3) does every third one from the second on, the reports are about all;
    ``since``, see :class:`medfs.inference.records.RecordLog`. A case whose record has the same parameters, and whose
    input and files have the recorded hashes, is skipped, so that a killed run goes on; without any none is skipped.
    """

    __slots__ = ()

    record_type: ClassVar[type[CaseRecord]]

    output: Path
    since: int | None

    @property
    def parameters(self) -> Mapping[str, Any]:
        """All that the results depend on besides the input."""
        raise NotImplementedError

    @property
    def part(self) -> tuple[int, int]:
        """Which part of the cases to do, and of how many parts."""
        return (1, 1)

    @property
    def workers(self) -> int:
        """Cases at a time, as threads; the results do not depend on it."""
        return 1

    def _check(self, cases: Mapping[str, Path]) -> None:
        """Refuse cases that cannot be done into this folder, before anything is written."""

    def _files(self, case: str) -> list[str]:
        """The names of a case's files in the order of writing: the last one says that all of them are there."""
        raise NotImplementedError

    def _case(self, case: str, path: Path, is_ours: Callable[[], bool]) -> Record | None:
        """Do a case; None if another process took it over, which ``is_ours`` says before the writing."""
        raise NotImplementedError

    def _finish(self, records: Sequence[Record]) -> None:
        """What is written about all settled cases, those of other parts included, before the final reports."""

    def run(self, cases: Mapping[str, Path], on_case: Callable[[Record], None] = lambda record: None) -> ExitCode:
        """Do every case, append its states to ``report.jsonl``, write the final reports and say how it went.

        Several processes may do so in one folder at the same time: each case is done by one of them, and every one ends
        when all cases are settled. ``report.json`` and ``report.csv`` are there only once a run has come to its end.

        Args:
            cases: file by case name.
            on_case: called after each case, in this thread, in the order in which they end.

        Returns:
            How it went with the cases of this part.

        Raises:
            StorageError: the output folder cannot be written; other troubles fail their case alone.
            UsageError: a run with other parameters is at work in the folder, or a file that no run wrote would be
                replaced.
        """
        self._check(cases)
        make_folder(self.output)
        since = report_bytes(self.output) if self.since is None else self.since
        shared = self._shared(cases, since, threading.Event())
        self._require_own_files(cases, shared)
        number, parts = self.part
        mine = list(cases)[number - 1 :: parts]
        records: dict[str, Record] = {}
        shared.claims.join()
        try:
            atomic.remove_stale_temporaries(self.output, _STALE_TEMPORARY_S)
            remove_final_report(self.output)
            for record in self._each(mine, cases, shared) if self.workers == 1 else self._threads(mine, cases, since):
                if record.case not in records:  # each thread goes through all cases
                    records[record.case] = record
                    on_case(record)
            settled = [(case, records.get(case) or shared.outcome(case)) for case in cases]
            self._finish([self._known(cases[case], record) for case, record in settled if record is not None])
            write_final_report(self.output, cases, self.parameters, shared)
        finally:
            shared.claims.close()
        return exit_code(records.values())

    def _require_own_files(self, cases: Mapping[str, Path], shared: SharedCases) -> None:
        """Refuse to replace what no run of medfs wrote, e.g. a label map by hand that is named like a result."""
        there = [(case, self.output / name) for case in cases for name in self._files(case)]
        there = [(case, path) for case, path in there if path.is_file()]  # before the records, which come first
        shared.log.refresh()
        known = shared.log.earlier.keys() | shared.log.current.keys()
        if foreign := [path for case, path in there if case not in known]:
            more = f" (and {len(foreign) - 1} more)" if len(foreign) > 1 else ""
            raise UsageError(
                f"{foreign[0]}{more}: exists, but {REPORT} does not say that medfs wrote it; choose another folder, or "
                "move it"
            )

    def _shared(self, cases: Mapping[str, Path], since: int, stop: threading.Event) -> SharedCases:
        def proven(case: str, record: Mapping[str, Any]) -> bool:
            if not self.parameters:
                return False
            return is_done(self.output, record, cases[case], parameters=self.parameters, names=self._files(case))

        return SharedCases(self.output, self.parameters, self._files("case"), proven, since=since, stop=stop)

    def _each(self, mine: Sequence[str], cases: Mapping[str, Path], shared: SharedCases) -> Iterator[Record]:
        """The records of the cases as they are settled, by this thread or another one."""
        for case, known in shared.each(mine):
            record = self._claimed(case, cases[case], shared) if known is None else self._known(cases[case], known)
            if record is not None:
                yield record

    def _threads(self, mine: Sequence[str], cases: Mapping[str, Path], since: int) -> Iterator[Record]:
        """The same by several threads, which share the cases as processes do; a case comes more than once."""
        ended: SimpleQueue[Record | BaseException | None] = SimpleQueue()
        stop = threading.Event()

        def work() -> None:
            shared = self._shared(cases, since, stop)
            try:
                for record in self._each(mine, cases, shared):
                    ended.put(record)
                ended.put(None)
            except BaseException as error:
                ended.put(error)
            finally:
                shared.claims.close()

        with ThreadPoolExecutor(self.workers) as pool:
            at_work = len([pool.submit(work) for _ in range(min(self.workers, len(mine)))])
            try:
                while at_work:
                    found = ended.get()
                    if isinstance(found, BaseException):
                        raise found
                    if found is None:
                        at_work -= 1
                    else:
                        yield found
            finally:
                stop.set()

    def _claimed(self, case: str, path: Path, shared: SharedCases) -> Record | None:
        """Do a case; None if another process took it over meanwhile."""
        shared.begin(case, path)
        try:
            record = self._case(case, path, lambda: shared.claims.holds(case))
        except BaseException:  # a signal, a full disk
            with contextlib.suppress(MedfsError):
                shared.drop(case, path)
            raise
        if record is not None:
            atomic.reached("before_record")
            append_record(self.output, asdict(record))
            atomic.reached("after_record")
        return record

    def _known(self, path: Path, record: Record | Mapping[str, Any]) -> Record:
        """What the report says of a case that is settled."""
        if isinstance(record, CaseRecord):
            return record  # type: ignore[return-value]
        kept = {entry.name: record[entry.name] for entry in fields(self.record_type) if entry.name in record}
        skipped = {"seconds": 0.0} if record["status"] == "skipped" else {}
        return cast(Record, self.record_type(**kept | {"input": str(path)} | skipped))
