"""What a step does on the device, counted in the program that XLA compiled: launches, and transfers to and from the host."""

from __future__ import annotations

import collections
import dataclasses
import re
import warnings
from typing import Any, Final

_COMPUTATION: Final = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION: Final = re.compile(r"^\s+(?:ROOT )?%?[\w.\-]+ = .*? ([a-z][a-z0-9\-]*)\(")
_CALLED: Final = re.compile(
    r"(?:to_apply|body|condition|branch_computations|true_computation|false_computation)=(\{[^}]*\}|[%\w.\-]+)"
)
_TRIPS: Final = re.compile(r'known_trip_count\D*?"n":"(\d+)"')
_FREE: Final = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "opt-barrier"}
"""Only name memory. The second half of an asynchronous pair, `…-done`, is free too."""
_ENTERED: Final = {"call", "while", "conditional"}
_HOST: Final = {"infeed", "outfeed", "send", "recv"}
_HOST_MEMORY: Final = re.compile(r"[{:]S\(5\)|custom_call_target=\"[^\"]*(?:[Hh]ost|callback)")
"""XLA's memory space 5 is the host's; some custom calls move there or call back."""


@dataclasses.dataclass(frozen=True)
class Program:
    """The loop of steps as compiled.

    Attributes:
        launches: instructions of one step that start work on the device, by name.
        host_transfers: those among them that read or write the host's memory.
    """

    launches: dict[str, int]
    host_transfers: int


def of_step(steps: Any, arguments: tuple[Any, ...], device: str) -> Program:
    """Counts in the function of many steps, which is compiled once more for it.

    Args:
        steps: of training.steps.make_steps, compiled by XLA.
        arguments: of one call.
        device: "cpu" or "gpu".
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow prefers a platform, but then draws a random number, without a seed
        text = steps.experimental_get_compiler_ir(*arguments)(stage="optimized_hlo", device_name=f"/device:{device.upper()}:0")
    return count(text)


def count(text: str) -> Program:
    """Counts the instructions that one turn of the program's loop, body and condition, executes.

    A fusion is one, whatever is in it, and so is a call of a library, whatever it launches. Calls are entered; of a conditional
    all branches count; an inner loop counts as often as XLA knows it to turn, otherwise once. On a CPU an instruction is a
    function that is called, on a GPU mostly one kernel; several may be launched together as a graph. What the runtime adds
    between two steps is not in the program: on a GPU it may read one byte, whether there is another step.

    Args:
        text: optimized HLO. If there are several loops, the one with the most instructions.

    Raises:
        ValueError: there is no loop.
    """
    entry, computations = _computations(text)
    loops = [line for line in computations[entry] if _opcode(line) == "while"]
    if not loops:
        raise ValueError("the compiled program has no loop")
    turns = [_executed(_called(loop), computations) for loop in loops]
    lines = max(turns, key=lambda found: found.total())
    launches: collections.Counter[str] = collections.Counter()
    for line, times in lines.items():
        launches[_opcode(line)] += times
    transfers = sum(
        times for line, times in lines.items() if _opcode(line).removesuffix("-start") in _HOST or _HOST_MEMORY.search(line)
    )
    return Program(dict(launches.most_common()), transfers)


def _computations(text: str) -> tuple[str, dict[str, list[str]]]:
    """The name of the entry computation, and the instructions of each, a line each."""
    entry, found, current = "", dict[str, list[str]](), list[str]()
    for line in text.splitlines():
        if header := _COMPUTATION.match(line):
            current = found.setdefault(header[2], [])
            entry = header[2] if header[1] else entry
        elif _INSTRUCTION.match(line):
            current.append(line)
    return entry, found


def _executed(names: list[str], computations: dict[str, list[str]]) -> collections.Counter[str]:
    """The instructions that start work, with how often each is executed."""
    found: collections.Counter[str] = collections.Counter()
    for line in (line for name in names for line in computations[name]):
        opcode = _opcode(line)
        if opcode in _ENTERED:
            trips = _TRIPS.search(line)
            inner = _executed(_called(line), computations)
            found.update({other: times * (int(trips[1]) if trips else 1) for other, times in inner.items()})
        elif opcode not in _FREE and not opcode.endswith("-done"):
            found[line] += 1
    return found


def _opcode(line: str) -> str:
    match = _INSTRUCTION.match(line)
    return match[1] if match else ""


def _called(line: str) -> list[str]:
    """The computations that a call, loop or conditional executes."""
    return [name for group in _CALLED.findall(line) for name in re.findall(r"[\w.\-]+", group)]
