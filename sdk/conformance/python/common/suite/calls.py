"""Scripts: what they log and call; `sdk/conformance/README.md` says how."""

from salve_plugin import CallError, clock, config, http, log, notify, process, telemetry

from . import terms


def write(lines):
    for line in lines:
        log.write(line["level"], line["message"], line.get("fields", []))


def _window(call):
    return int(call["from"]), int(call["to"])


def _request(call):
    return http.request(
        call.get("target", ""),
        call.get("method", ""),
        call.get("path", ""),
        query=call.get("query", []),
        headers=call.get("headers", []),
        body=bytes.fromhex(call.get("body", "")),
        idempotency_key=call.get("idempotency_key"),
    )


def _result(call, shown):
    try:
        return f"ok({shown(call())})"
    except CallError as error:
        return f"err({terms.call_error(error)})"


def observe(call, now):
    """A call of `telemetry` or `clock`. `now`: of the request or incident."""
    name = call["call"]
    if name == "telemetry.services":
        return terms.listed(telemetry.services(*_window(call)), terms.service)
    if name == "telemetry.edges":
        return terms.listed(telemetry.edges(*_window(call)), terms.edge)
    if name == "telemetry.changes":
        return terms.listed(telemetry.changes(*_window(call)), terms.change)
    if name == "telemetry.find":
        return terms.listed(telemetry.find(call["service"], call["name_prefix"]), terms.series)
    if name == "telemetry.points":
        return terms.listed(telemetry.points(call["series"], *_window(call)), terms.point)
    if name == "clock.now":
        return terms.boolean(clock.now() >= now)
    if name == "clock.sleep":
        before = clock.now()
        clock.sleep_ms(call["duration_ms"])
        return terms.boolean(clock.now() >= before + call["duration_ms"] * 1_000_000)
    raise ValueError(f"no call `{name}`")


def act(call, now):
    """Any call."""
    name, target, key = call["call"], call.get("target", ""), call.get("key", "")
    if name.startswith("process."):
        verb = name.partition(".")[2]
        shown = terms.status if verb == "status" else terms.receipt
        return _result(lambda: getattr(process, verb)(target), shown)
    if name == "config.get":
        return _result(lambda: config.get(target, key), terms.optional_text)
    if name == "config.history":
        return _result(lambda: config.history(target, key), lambda all_: terms.listed(all_, terms.version))
    if name == "config.keys":

        def pair(item):
            return f"({terms.text(item[0])},{terms.optional_text(item[1])})"

        return _result(lambda: config.keys(target), lambda all_: terms.listed(all_, pair))
    if name == "config.set":
        return _result(lambda: config.set(target, key, call.get("value")), terms.receipt)
    if name == "http.get":
        return _result(lambda: http.get(_request(call)), terms.response)
    if name == "http.send":
        both = lambda answer: f"({terms.response(answer[0])},{terms.receipt(answer[1])})"  # noqa: E731
        return _result(lambda: http.send(_request(call)), both)
    if name == "notify.send":
        return _result(lambda: notify.send(target, call.get("fields", [])), terms.receipt)
    return observe(call, now)


def step(call):
    """The step of a write."""
    name, target = call["call"], call.get("target", "")
    if name.startswith("process."):
        return getattr(process, f"{name.partition('.')[2]}_step")(target)
    if name == "config.set":
        return config.set_step(target, call.get("key", ""), call.get("value"))
    if name == "http.send":
        return http.send_step(_request(call))
    if name == "notify.send":
        return notify.send_step(target, call.get("fields", []))
    raise ValueError(f"no write `{name}`")
