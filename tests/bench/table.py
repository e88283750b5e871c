"""The measurements as a table in Markdown."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.bench.local_fleet import LATENCY_SECONDS, TABLE_LATENCY_SECONDS
from tests.bench.marks import BARE, C7N, C7N_ORG, C7N_ORG_WIDE, COLD, DEPLOYED, METABADGER, WARM
from tests.bench.measurement import DESCRIBE, MODIFY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HEAD = ("scenario", "system", "seconds", "÷ bound", "requests", "throttled", "CPU s", "peak MB", "done", "mark")
SHORT = {DESCRIBE: "describe", MODIFY: "modify", "dynamodb": "table", "cloudwatch": "metrics"}
"""Actions by their short names, and services whose actions are counted together."""

OTHER = "other"
COLUMNS = {
    COLD: (COLD,),
    "warm, or deployed": (WARM, DEPLOYED),
    BARE: (BARE,),
    "c7n, or c7n-org": (C7N, C7N_ORG),
    C7N_ORG_WIDE: (C7N_ORG_WIDE,),
    METABADGER: (METABADGER,),
}
"""The overview's columns, each with its systems, of which a scenario has at most one."""

CAPTION = f"""\
Every system on the same local AWS, started anew for each run, with {LATENCY_SECONDS * 1000:g} ms a call
(DynamoDB: {TABLE_LATENCY_SECONDS * 1000:g} ms) and EC2's published request buckets
(`ModifyInstanceMetadataOptions`: 100, and 5 a second). Seconds and CPU are the medians of interleaved repetitions,
where there are some; peak memory, throttled requests and counts are the worst. *Bound*: the least time that the bucket
allows for N changes in one region, `max(0, (N - 100) / 5)` s; in *long* the refill is sped up 10 times. *Cold*: from
the start of the process; *warm*: a further invocation of it; *deployed*: the stack, from the first event or the start
of the sweep, its CPU and memory those of the function's processes that were there at the end. *Done*: instances with
tokens required and applied when the system had ended. In *burst* the enforcer gets the events of the launch, as the
queue hands them over; in the others it sweeps instances that were launched the day before, unless it is deployed.

The enforcer has every safeguard: the gate asks CloudWatch about each existing instance (*metrics*: GetMetricData),
ledger and holds are in DynamoDB (*table*: its requests), and the watch looks at what was changed. *No safeguards*: the
same code under a policy without gate and watch, and with a table that keeps nothing and answers at once. In *memory*
there is no gate, which would ask the local CloudWatch about instances that it does not have.

*Bare boto3* makes the same changes with one session, a client a region and 16 threads for each, every change as soon as
the bucket has a token for it. It is given the ids, lists nothing, reads nothing back and keeps nothing. Its CPU and the
cold enforcer's are those of whole processes, imports included.

In *mixed*, *launch s* counts from the answer to the launch, as the local AWS puts the event on the queue when it
answers, until EC2 shows all ten with tokens required and applied; EC2 is asked every 0.1 s.
In *storm*, reads are divided by their batch, the instances that were first read by one request: *first looks* came
before the first change in the batch; *read-backs* after it, those included that renew an observation older than 10 s
or belong to a message that was delivered again.
In *audit* a new process of the operator's command reports on instances, and *done* are those that it reported on.
In *memory* EC2 answers from within the process, every candidate has its outcome, and in enforce mode most are deferred
for lack of time. c7n reads without its cache and with its policy validated beforehand; c7n-org runs four processes a
core unless said otherwise.

`make bench` makes this table, the chart and `bench.json`.
"""


def markdown(scenarios: Mapping[str, Mapping[str, Any]]) -> str:
    """The table, its explanation, and the marks."""
    return "\n".join([figures(scenarios), "", CAPTION, *_marks(scenarios)]) + "\n"


def figures(scenarios: Mapping[str, Mapping[str, Any]]) -> str:
    """The table alone."""
    rows = [row for name, scenario in scenarios.items() for row in _rows(name, scenario)]
    return "\n".join(
        [_line(HEAD), _line(("---", "---", *["---:"] * 2, "---", *["---:"] * 4, "---")), *map(_line, rows)]
    )


def overview(scenarios: Mapping[str, Mapping[str, Any]]) -> str:
    """The seconds alone, a row a scenario: for the README."""
    rows = []
    for name, scenario in scenarios.items():
        cells = tuple(_cell(scenario["systems"], systems) for systems in COLUMNS.values())
        if any(cells):
            rows.append((f"{name}: {scenario['title']}", f"{scenario['bound_s']:g} s", *cells))
    return "\n".join(map(_line, [("scenario", "bound", *COLUMNS), ("---", *["---:"] * (1 + len(COLUMNS))), *rows]))


def _cell(measured: Mapping[str, Any], systems: tuple[str, ...]) -> str:
    system = next((measured[each] for each in systems if each in measured), None)
    if system is None:
        return ""
    launch, throttled = system["facts"].get("launch_s"), system["throttled"]
    more = [f"the launch {launch:.3g} s"] if launch else []
    more += [f"{throttled} throttled"] if throttled else []
    return ", ".join([f"{system['seconds']:.3g} s", *more])


def _rows(name: str, scenario: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    verdict = "met" if scenario["met"] else "**not met**"
    title = f"**{name}**: {scenario['title']}; bound {scenario['bound_s']:g} s"
    if not scenario["systems"]:
        yield (title, "not measured", *[""] * 7, verdict)
    for system, measured in scenario["systems"].items():
        yield (title, system, *_figures(measured), verdict)
        title = verdict = ""


def _figures(measured: Mapping[str, Any]) -> tuple[str, ...]:
    counted = bool(measured["requests"])
    return (
        f"{measured['seconds']:.2f}",
        "" if measured["ratio"] is None else f"{measured['ratio']:.2f}",
        _requests(measured),
        str(measured["throttled"]) if counted else "",
        _number(measured["cpu_s"], ".2f"),
        _number(measured["peak_mb"], ".0f"),
        f"{measured['required']} / {measured['instances']}" if counted else "",
    )


def _requests(measured: Mapping[str, Any]) -> str:
    """Requests by action, the important ones by name, and the scenario's own counts."""
    counts: Counter[str] = Counter()
    for action, count in measured["requests"].items():
        counts[SHORT.get(action) or SHORT.get(action.partition(":")[0], OTHER)] += count
    named = [f"{counts[short]} {short}" for short in (*SHORT.values(), OTHER) if counts[short]]
    facts = [f"{name.replace('_', ' ')} {value:g}" for name, value in measured["facts"].items() if name != "exit_code"]
    return ", ".join(named) + (f" ({', '.join(facts)})" if facts else "")


def _marks(scenarios: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield _line(("scenario", "mark", "figure", "limit", ""))
    yield _line(("---", "---", "---:", "---:", "---"))
    for name, scenario in scenarios.items():
        for mark in scenario["marks"]:
            limits = [f"{sign} {mark[end]:g}" for end, sign in (("at_least", "≥"), ("at_most", "≤")) if end in mark]
            yield _line(
                (
                    name,
                    mark["mark"],
                    _number(mark["figure"], ".4g"),
                    ", ".join(limits),
                    _verdict(mark),
                )
            )


def _verdict(mark: Mapping[str, Any]) -> str:
    """Whether a mark is met; empty for a figure without a limit."""
    if not mark["met"]:
        return "**no**"
    return "met" if mark.keys() & {"at_least", "at_most"} else ""


def _number(value: float | None, form: str) -> str:
    return "n/a" if value is None else format(value, form)


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"
