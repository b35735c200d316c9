"""Moves a number in a configuration file to a value in bounded steps, and looks after each one.

A service that chokes on its own concurrency is helped by less of it, but a jump can be worse than the trouble. So the number goes by at
most ``step_ratio`` at a time, with a pause in which the service's error ratio is watched.

What always holds:

- the plan names every value on the way; ``execute`` writes these, in order, and nothing else
- a step that makes the error ratio worse than before and worse than ``error_ratio_max`` is the last one: the action fails, and the host
  has it undone
- undo sets the values back one by one, the newest first, as the plan states it

Not here: what the right value is (policies), which keys may be written and how far (grants).
"""

from salve_plugin import Action, Failed, Invalid, NotApplicable, Outcome, Plan, clock, config, log, plugin, telemetry

NS_PER_MS = 1_000_000
#: Most values on the way; each is one write.
STEPS_MAX = 20
#: Least time over which the error ratio is looked at: shorter, a single request would decide.
LOOK_MS_MIN = 2_000


def way(start, end, ratio):
    """The values from ``start`` (left out) to ``end``, each at most ``ratio`` from the one before, and at least 1."""
    values = []
    value = start
    while value != end:
        step = max(1, int(value * ratio))
        value = min(end, value + step) if value < end else max(end, value - step)
        values.append(value)
        if len(values) > STEPS_MAX:
            raise Invalid(f"from {start} to {end} are more than {STEPS_MAX} steps; raise `step_ratio`")
    return values


@plugin
class StepSetting(Action):
    def plan(self, request):
        target = request.target
        parameters = request.parameters
        key, end = parameters["key"], parameters["to"]
        text = config.get(target, key)
        if text is None:
            raise NotApplicable(f"`{key}` of `{target.id}` is not set")
        try:
            start = int(text)
        except ValueError:
            raise Invalid(f"`{key}` of `{target.id}` is `{text}`, which is no whole number") from None
        if start < 1:
            raise Invalid(f"`{key}` of `{target.id}` is {start}; steps are shares of it")
        values = way(start, end, parameters.get("step_ratio", 0.5))
        if not values:
            raise NotApplicable(f"`{key}` of `{target.id}` is {end} already")
        shown = ", ".join(str(value) for value in values)
        plan = Plan(f"Set `{key}` of `{target.id}` from {start} to {shown}")
        for value in values:
            step = config.set_step(target, key, value)
            step.after = str(value)
            plan.step(step)
        return plan

    def execute(self, request, plan):
        parameters = request.parameters
        service = request.target.attributes.get("service.name", "")
        pause_ms = parameters.get("pause_ms", 10_000)
        most = parameters.get("error_ratio_max", 0.2)
        before = self.error_ratio(service, pause_ms)
        applied = 0
        for index, step in enumerate(plan.steps):
            made = config.set(step.target, parameters["key"], step.after)
            applied += made.applied
            if not made.applied or index + 1 == len(plan.steps):
                continue
            clock.sleep_ms(pause_ms)
            after = self.error_ratio(service, pause_ms)
            log.info(f"step {index + 1} of {len(plan.steps)}", value=step.after, error_ratio=after)
            if after > max(most, before):
                raise Failed(
                    f"{after:.0%} of the requests to `{service}` fail at {step.after}, {before:.0%} did before; stopped"
                )
        count = len(plan.steps)
        if applied == count:
            return Outcome(note=f"{count} of {count} steps made")
        return Outcome(note=f"{count} of {count} steps passed, {applied} applied")

    @staticmethod
    def error_ratio(service, pause_ms):
        """The share of requests that failed lately; 0 if there were none."""
        now = clock.now()
        since = max(0, now - max(pause_ms, LOOK_MS_MIN) * NS_PER_MS)
        return next((s.error_ratio for s in telemetry.services(since, now) if s.service == service), 0.0)
