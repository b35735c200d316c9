"""Values as terms; `sdk/conformance/README.md` says how."""

import struct


def text(value):
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def double(value):
    return struct.pack(">d", value).hex()


def boolean(value):
    return "true" if value else "false"


def record(*terms):
    return "{" + ",".join(terms) + "}"


def listed(items, term=str):
    return "[" + ",".join(term(item) for item in items) + "]"


def option(value, term):
    return "none" if value is None else f"some({term(value)})"


def optional_text(value):
    return option(value, text)


def pairs(items):
    return listed(items, lambda item: f"({text(item[0])},{text(item[1])})")


def attributes(items):
    return pairs(sorted(dict(items).items()))


def kind(value):
    return value.name.lower().replace("_", "-")


def target(value):
    return record(text(value.id), attributes(value.attributes))


def targets(values):
    return listed(values, target)


def receipt(value):
    return record(
        str(value.call),
        str(value.step),
        text(value.target),
        text(value.verb),
        boolean(value.applied),
        optional_text(value.before),
        optional_text(value.after),
        attributes(value.extra),
    )


def status(value):
    return record(
        option(value.pid, str),
        option(value.started, str),
        text(value.state),
        str(value.rss_bytes),
        double(value.cpu_seconds),
        optional_text(value.last_exit),
    )


def version(value):
    return record(optional_text(value.value), str(value.since), boolean(value.good))


def response(value):
    return record(str(value.status), pairs(value.headers), "x" + value.body.hex())


def service(value):
    return record(
        text(value.service),
        double(value.requests_per_second),
        double(value.error_ratio),
        double(value.duration_mean_ms),
        double(value.duration_p95_ms),
        str(value.last_seen),
    )


def edge(value):
    return record(
        text(value.caller),
        text(value.callee),
        double(value.requests_per_second),
        double(value.error_ratio),
        double(value.duration_mean_ms),
    )


def change(value):
    return record(
        str(value.time),
        optional_text(value.service),
        optional_text(value.target),
        text(value.kind),
        text(value.what),
        optional_text(value.before),
        optional_text(value.after),
        text(value.author),
    )


def series(value):
    return record(
        str(value.id),
        text(value.name),
        text(value.unit),
        text(value.service),
        option(value.limit, double),
        attributes(value.attributes),
    )


def point(value):
    return record(str(value.time), double(value.value))


def step(value):
    return record(
        text(value.capability),
        text(value.verb),
        text(value.target),
        text(value.arguments),
        optional_text(value.before),
        optional_text(value.after),
        optional_text(value.inverse),
    )


def expectation(value):
    return record(
        text(value.service),
        text(value.signal),
        option(value.lower, double),
        option(value.upper, double),
        str(value.within_ms),
        str(value.hold_ms),
        str(value.samples_min),
    )


def proposal(value):
    return record(
        text(value.summary),
        listed(value.steps, step),
        listed(value.expect, expectation),
        attributes(value.extra),
    )


def call_error(error):
    if error.kind != "denied":
        return error.kind if error.detail is None else f"{error.kind}({text(error.detail)})"
    denied = error.denied if error.detail is None else f"{error.denied}({text(error.detail)})"
    return f"denied({denied})"
