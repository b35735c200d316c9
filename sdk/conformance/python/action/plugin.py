"""The suite's action; `sdk/conformance/README.md` says how it behaves."""

from salve_plugin import (
    Action,
    Expectation,
    Failed,
    Invalid,
    NotApplicable,
    Outcome,
    Plan,
    execute_plan,
    plugin,
    undo_receipts,
)
from suite import calls, terms

FAILURES = {"not-applicable": NotApplicable, "invalid": Invalid, "failed": Failed}


def follow(request):
    """Log and calls; then what was seen, or the failure."""
    script = request.parameters
    calls.write(script.get("log", []))
    answers = [calls.act(call, request.now) for call in script.get("calls", [])]
    failure = script.get("failure")
    if failure:
        raise FAILURES[failure["kind"]](failure["text"])
    shown = terms.record(
        terms.text(request.incident), terms.targets(request.targets), str(request.started), str(request.now)
    )
    return {"request": shown, "answers": terms.listed(answers)}


@plugin
class Scripted(Action):
    def plan(self, request):
        script = request.parameters
        plan = Plan(script.get("summary", ""))
        for name, value in follow(request).items():
            plan.extra(name, value)
        for given in script.get("expect", []):
            numbers = {"within_ms": int(given["within_ms"]), "hold_ms": int(given["hold_ms"])}
            plan.expect(Expectation(**{**given, **numbers}))
        return plan.step(*(calls.step(call) for call in script.get("steps", [])))

    def execute(self, request, plan):
        script = request.parameters
        extra = {**follow(request), "plan": terms.proposal(plan)}
        bodies = [bytes.fromhex(body) for body in script.get("bodies", [])]
        return self.outcome(script, extra, lambda: execute_plan(plan, bodies))

    def undo(self, request, plan, receipts):
        script = request.parameters
        extra = {**follow(request), "plan": terms.proposal(plan), "receipts": terms.listed(receipts, terms.receipt)}
        return self.outcome(script, extra, lambda: undo_receipts(plan, receipts))

    @staticmethod
    def outcome(script, extra, helper):
        made = helper() if script.get("follow_plan") else Outcome(script.get("done", False), script.get("note", ""))
        return Outcome(made.done, made.note, extra)
