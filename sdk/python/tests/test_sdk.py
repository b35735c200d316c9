"""The SDK by itself, natively: ``python3 -m unittest`` or ``pytest``, with ``src`` on the path."""

import random
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from salve_plugin import (  # noqa: E402
    Action,
    Agent,
    CallError,
    Detector,
    Evidence,
    Expectation,
    Failed,
    Findings,
    Hypothesis,
    Incident,
    Invalid,
    Kind,
    NotApplicable,
    Observation,
    Outcome,
    Plan,
    Reader,
    SeriesTable,
    State,
    Suggestion,
    Symptom,
    Target,
    Unsupported,
    Writer,
    body_sha256,
    clock,
    config,
    execute_plan,
    http,
    log,
    notify,
    process,
    telemetry,
)
from salve_plugin.testing import ActionTest, AgentTest, DetectorTest, FakeHost  # noqa: E402


class Everything(Action):
    def plan(self, request):
        target = request.target
        return (
            Plan("Everything")
            .step(config.set_step(target, "a", 1), config.set_step(target, "b", 2))
            .step(process.stop_step(target), process.start_step(target))
            .step(http.send_step(http.request(target, "POST", "/drain", body="drain")))
            .step(notify.send_step(target, {"text": "done"}))
            .expect({"signal": "x", "upper": 0.5})
            .extra("note", "all")
        )

    def execute(self, request, plan):
        return execute_plan(plan, ["drain"])


def shop():
    return FakeHost().process("shop").config("shop", "a", "0").config("shop", "b", "0").answer("shop", "/drain", 200)


class Plans(unittest.TestCase):
    def test_steps_are_canonical(self):
        """Guarantees: JSON with sorted keys, no spaces, and no escapes but those that JSON demands."""
        step = config.set_step("t", 'k"\n\x01\x7fü', None)
        self.assertEqual(step.arguments, '{"key":"k\\"\\n\\u0001\x7fü","value":null}')
        self.assertEqual(config.set_step("t", "k", True).arguments, '{"key":"k","value":"true"}')
        self.assertEqual(process.restart_step(Target("t")).arguments, "{}")
        request = http.request("t", "POST", "/x", query={"b": 1, "a": 2}, json={"z": 1, "a": [True]}, idempotency_key="k")
        digest = body_sha256('{"a":[true],"z":1}')
        self.assertEqual(
            http.send_step(request).arguments,
            f'{{"body-sha256":"{digest}","headers":[["content-type","application/json"]],"idempotency-key":"k",'
            '"method":"POST","path":"/x","query":[["b","1"],["a","2"]]}',
        )

    def test_executes_in_order_and_undoes_in_reverse(self):
        """Guarantees: all steps are made, in order; what can be taken back is, the newest first; what cannot is named."""
        test = ActionTest(Everything, shop(), targets=["shop"])
        plan = test.plan()
        self.assertEqual(test.execute(plan).note, "6 of 6 steps made")
        self.assertEqual([made.step for made in test.host.receipts], [0, 1, 2, 3, 4, 5])
        outcome = test.undo(plan)
        self.assertFalse(outcome.done)
        self.assertEqual(
            outcome.note,
            "2 calls taken back; no way back for notify.send on `shop`, http.send on `shop`, process.start on `shop`, "
            "process.stop on `shop`",
        )
        self.assertEqual([made.step for made in test.host.receipts[6:]], [1, 0])
        self.assertEqual(test.host.config_value("shop", "a"), "0")

    def test_failures_and_dry_run(self):
        """Guarantees: nothing after a failed step is made and the reason is said; a dry-run writes nothing."""
        error = CallError("denied", None, "kill-switch")
        test = ActionTest(Everything, shop().fail_next("process.stop", error), targets=["shop"])
        plan = test.plan()
        with self.assertRaisesRegex(Failed, "^step 2, process.stop on `shop`: Salve is paused$"):
            test.execute(plan)
        self.assertEqual(len(test.host.receipts), 2)
        dry = ActionTest(Everything, shop().dry_run(), targets=["shop"])
        self.assertEqual(dry.execute(dry.plan()).note, "6 of 6 steps passed, 0 applied")
        self.assertEqual(dry.host.messages, [])

    def test_the_scripted_host_keeps_the_rules(self):
        """Scenario: writes while planning, and others than planned. Guarantees: refused, as by the real host."""
        case = self

        class Liar(Action):
            def plan(self, request):
                with case.assertRaises(CallError) as refused:
                    config.set(request.target, "a", 9)
                case.assertEqual(refused.exception.denied, "not-in-plan")
                return Plan("Set").step(config.set_step(request.target, "a", 1))

            def execute(self, request, plan):
                config.set(request.target, "a", 2)
                return Outcome()

        test = ActionTest(Liar, shop(), targets=["shop"])
        plan = test.plan()
        with self.assertRaisesRegex(Failed, r'^not in the approved plan \(config.set {"key":"a","value":"2"}\)$'):
            test.execute(plan)
        self.assertEqual(test.host.config_value("shop", "a"), "0")
        with self.assertRaises(NotApplicable):
            ActionTest(Liar).plan()
        with self.assertRaisesRegex(RuntimeError, "without a host; in tests"):
            config.get("t", "k")

    def test_wrong_values_are_named(self):
        """Guarantees: what the contract cannot carry is an error with its path; a component would only trap."""

        def plan(made):
            class Maker(Action):
                def plan(self, request):
                    return made

            return lambda: ActionTest(Maker).plan()

        for made, message in [
            (None, "what `plan` returns must be of class Plan, it is None"),
            (Plan(5), "the plan's summary must be a text, it is 5"),
            (Plan("x").expect(Expectation("x", within_ms=0.5)), r"expect\[0\]\.within_ms must be a whole number"),
            (Plan("x").step({}), r"steps\[0\] must be of class Step"),
        ]:
            with self.assertRaisesRegex(TypeError, message):
                plan(made)()


class Time(unittest.TestCase):
    def test_time_is_the_hosts(self):
        """Guarantees: time, waiting and random numbers come from the host during a call, and are as before after it."""

        class Probe(Action):
            def plan(self, request):
                before = time.time()
                time.sleep(1.5)
                log.info("waited", seconds=time.time() - before)
                return Plan("x").extra("time", str(before)).extra("random", str(random.random()))

        first, second = ActionTest(Probe), ActionTest(Probe)
        extra = first.plan().extra
        self.assertEqual(extra, second.plan().extra)
        self.assertEqual(extra[0], ("time", "1767225600.0"))
        self.assertEqual(first.host.logs, [("info", "waited", {"seconds": "1.5"})])
        self.assertGreater(time.time(), 1_767_225_600)

    def test_a_detector_has_none(self):
        """Guarantees: an error that says what to use, in the log too."""

        class Timed(Detector):
            def observe(self, batch):
                time.time()

        test = DetectorTest(Timed)
        with self.assertRaisesRegex(Unsupported, r"^`time.time\(\)` does not exist in a plugin; use `clock.now\(\)`, or in a"):
            test.push()
        level, message, fields = test.host.logs[0]
        self.assertEqual(level, "error")
        self.assertIn("observe: Unsupported: `time.time()`", message)
        self.assertIn("in observe", fields["stack"])


class Mean(Detector):
    def __init__(self, parameters):
        self.most = parameters.get("most", 10)
        if self.most < 0:
            raise Invalid("`most` is negative")
        self.table = SeriesTable()

    def observe(self, batch):
        self.table.update(batch, lambda series: [0, 0.0])
        observations = []
        for series, points in batch.by_series():
            state = self.table.get(series)
            for at in points:
                value = batch.values[at]
                expected = state[1] / state[0] if state[0] else value
                if abs(value - expected) > self.most:
                    observations.append(
                        Observation(series, batch.times[at], Kind.POINT, value > expected, 1, 1, value, expected, 0, 0, "far")
                    )
                state[0] += 1
                state[1] += value
        return observations

    def snapshot(self):
        writer = Writer()
        self.table.write(writer, lambda to, state: to.u64(state[0]).f64(state[1]))
        return State(1, writer.bytes())

    def restore(self, state):
        if state.format != 1:
            raise Invalid(f"layout {state.format} is not known")
        self.table.read(Reader(state.bytes), lambda reader: [reader.u64(), reader.finite()])


class Detectors(unittest.TestCase):
    def test_state_survives_a_restart(self):
        """Scenario: the host numbers the series anew. Guarantees: each finds its own state; broken bytes are refused."""
        test = DetectorTest(Mean, {"most": 5})
        a, b = test.add("a", {"x": "1"}), test.add("b")
        for _ in range(5):
            self.assertEqual(test.push([(a, 100), (b, 0)]), [])
        state = test.snapshot()
        test.restart_from(state)
        (seen,) = test.push([(a, 100), (b, 50)])
        self.assertEqual((seen.series, seen.value, seen.expected), (b, 50, 0))
        for broken, message in [(State(2, state.bytes), "layout 2"), (State(1, state.bytes[:9]), "ends too early")]:
            with self.assertRaisesRegex(Invalid, message):
                test.restart_from(broken)
        with self.assertRaisesRegex(Invalid, "negative"):
            DetectorTest(Mean, {"most": -1})


class Agents(unittest.TestCase):
    def test_agents(self):
        """Guarantees: an agent sees telemetry and the incident, and has no capability."""
        case = self

        class Reader_(Agent):
            def consult(self, incident, question):
                (stats,) = telemetry.services(incident.now - 10**9, incident.now)
                with case.assertRaisesRegex(RuntimeError, "has no `config`"):
                    config.get("t", "k")
                case.assertEqual(clock.now(), incident.now)
                evidence = [Evidence(incident.symptoms[0].reason)]
                return Findings(
                    [Hypothesis(stats.service, "errors", stats.error_ratio, evidence)],
                    [Suggestion("restart", incident.targets[0], {"pause": 1})],
                )

        host = FakeHost()
        host.service(host.now - 2 * 10**9, host.now, telemetry.ServiceStats("shop", error_ratio=0.5))
        incident = Incident("inc", host.now, host.now, [Symptom("shop", "x", reason="up")], [Target("shop")])
        findings = AgentTest(Reader_, host).cause(incident)
        self.assertEqual(findings.hypotheses[0].probability, 0.5)
        self.assertEqual((findings.suggestions[0].target, findings.suggestions[0].parameters), ("shop", '{"pause": 1}'))


if __name__ == "__main__":
    unittest.main()
