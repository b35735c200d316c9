"""``python3 -m unittest``; needs neither WebAssembly nor a running Salve."""

import unittest

from plugin import StepSetting, way
from salve_plugin import CallError, Failed, Invalid, NotApplicable
from salve_plugin.telemetry import ServiceStats
from salve_plugin.testing import ActionTest, FakeHost

KEY = "workers.concurrency"


def test(host, **parameters):
    return ActionTest(StepSetting, host, {"key": KEY, "to": 8, **parameters}, ["shop"])


def shop(value="64"):
    return FakeHost().config("shop", KEY, value)


def values(host):
    return [version.value for version in reversed(host._config[("shop", KEY)])]


class Way(unittest.TestCase):
    def test_steps_are_bounded(self):
        """Guarantees: every way ends where it should, without a step that is too large, up and down."""
        for start in range(1, 120):
            for end in range(1, 120):
                for ratio in (0.4, 0.5, 1):
                    steps = way(start, end, ratio)
                    self.assertEqual([start, *steps][-1], end)
                    for before, after in zip([start, *steps], steps):
                        self.assertLessEqual(abs(after - before), max(1, before * ratio))
        with self.assertRaisesRegex(Invalid, "more than 20 steps; raise `step_ratio`"):
            way(1000, 1, 0.01)


class Steps(unittest.TestCase):
    def test_goes_step_by_step_and_back(self):
        """Guarantees: the plan names every value; each is written, with a pause between; undo goes the whole way back."""
        run = test(shop())
        plan = run.plan()
        self.assertEqual(plan.summary, "Set `workers.concurrency` of `shop` from 64 to 32, 16, 8")
        began = run.host.now
        self.assertEqual(run.execute(plan).note, "3 of 3 steps made")
        self.assertEqual(values(run.host), ["64", "32", "16", "8"])
        self.assertEqual(run.host.now - began, 2 * 10_000 * 1_000_000)
        # The scripted host states one value before for all steps of a key; the real one that of each.
        for step, before in zip(plan.steps, ("64", "32", "16")):
            step.inverse = f'{{"key":"{KEY}","value":"{before}"}}'
        self.assertEqual(run.undo(plan).note, "3 calls taken back")
        self.assertEqual(run.host.config_value("shop", KEY), "64")

    def test_stops_when_it_hurts(self):
        """Scenario: after the first step most requests fail. Guarantees: the second step is not made, and the reason is said."""
        host = shop()
        host.service(0, host.now, ServiceStats("shop", error_ratio=0.05))
        host.service(host.now, host.now + 10**12, ServiceStats("shop", error_ratio=0.6))
        run = test(host)
        plan = run.plan()
        with self.assertRaisesRegex(Failed, "^60% of the requests to `shop` fail at 32, 5% did before; stopped$"):
            run.execute(plan)
        self.assertEqual(values(host), ["64", "32"])

    def test_goes_on_while_it_does_not_get_worse(self):
        """Guarantees: an error ratio that was bad before is why the action runs, not a reason to stop it."""
        host = shop()
        host.service(0, host.now + 10**12, ServiceStats("shop", error_ratio=0.6))
        run = test(host)
        self.assertTrue(run.execute(run.plan()).done)
        self.assertEqual([level for level, _, _ in host.logs], ["info", "info"])

    def test_dry_run_waits_for_nothing(self):
        """Guarantees: nothing is written, and no time is spent watching what did not happen."""
        host = shop().dry_run()
        run = test(host)
        plan = run.plan()
        began = host.now
        self.assertEqual(run.execute(plan).note, "3 of 3 steps passed, 0 applied")
        self.assertEqual((host.now, values(host)), (began, ["64"]))

    def test_refusals(self):
        """Guarantees: what cannot be stepped is told apart from what needs no step, and each says why."""
        for host, parameters, error, message in [
            (FakeHost(), {}, NotApplicable, "is not set"),
            (shop("8"), {}, NotApplicable, "is 8 already"),
            (shop("many"), {}, Invalid, "which is no whole number"),
            (shop("0"), {}, Invalid, "steps are shares of it"),
            (shop().fail_next("config.get", CallError("timed-out")), {}, Failed, "no answer in time"),
        ]:
            with self.assertRaisesRegex(error, message):
                test(host, **parameters).plan()


if __name__ == "__main__":
    unittest.main()
