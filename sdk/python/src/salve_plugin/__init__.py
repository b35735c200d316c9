"""Write Salve detectors, agents and actions in Python: one class and one decorator each.

A whole action::

    from salve_plugin import Action, Plan, plugin, process

    @plugin
    class Restart(Action):
        def plan(self, request):
            return Plan("Restart it").step(process.restart_step(request.target))

What always holds:

- the host is there during a call and at no other time; natively, ``salve_plugin.testing`` has a scripted one
- a plugin has no clock, files, network, environment or random numbers but those that the host gives it
- arguments of plan steps are written in the one form that the host licenses (``salve_plugin.plan``)
"""

from . import clock, config, http, log, notify, process, telemetry
from .action import Action, Outcome, Receipt, Request, Target, execute_plan, undo_receipts
from .agent import Agent, CatalogueEntry, Evidence, Findings, Hypothesis, Incident, Suggestion, Symptom
from .codec import Reader, Writer
from .detector import FLAG_AFTER_GAP, Batch, Detector, Kind, Observation, Output, Scores, Series, State
from .errors import CallError, Failed, Failure, Invalid, NotApplicable, Unsupported
from .plan import Expectation, Plan, Proposal, Step, body_sha256
from ._host import plugin
from .series import SeriesTable

__version__ = "0.1.0"
__all__ = [
    "FLAG_AFTER_GAP",
    "Action",
    "Agent",
    "Batch",
    "CallError",
    "CatalogueEntry",
    "Detector",
    "Evidence",
    "Expectation",
    "Failed",
    "Failure",
    "Findings",
    "Hypothesis",
    "Incident",
    "Invalid",
    "Kind",
    "NotApplicable",
    "Observation",
    "Outcome",
    "Output",
    "Plan",
    "Proposal",
    "Reader",
    "Receipt",
    "Request",
    "Scores",
    "Series",
    "SeriesTable",
    "State",
    "Step",
    "Suggestion",
    "Symptom",
    "Target",
    "Unsupported",
    "Writer",
    "body_sha256",
    "clock",
    "config",
    "execute_plan",
    "http",
    "log",
    "notify",
    "plugin",
    "process",
    "telemetry",
    "undo_receipts",
]
