"""As ``plugins/restart-process``."""

from salve_plugin import Action, Plan, plugin, process


@plugin
class Restart(Action):
    def plan(self, request):
        states = []
        for target in request.targets:
            status = process.status(target)
            pid = "" if status.pid is None else f", pid {status.pid}"
            states.append(f"`{target.id}` ({status.state}{pid})")
        plan = Plan(f"Restart {', '.join(states)}")
        for target in request.targets:
            plan.step(process.restart_step(target))
        return plan
