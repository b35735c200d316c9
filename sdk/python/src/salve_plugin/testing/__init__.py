"""Native tests of plugins, by plain ``pytest`` or ``unittest``: a scripted host that keeps the rules of the real one.

- ``ActionTest`` plans, executes and undoes an action. A write that the plan does not license is refused, as it would be.
- ``DetectorTest`` feeds a detector points, a second apart, and gives back what it observed.
- ``AgentTest`` asks an agent about an incident over scripted telemetry.
"""

from .host import EPOCH_NS, FakeHost
from .run import ActionTest, AgentTest, DetectorTest

__all__ = ["EPOCH_NS", "ActionTest", "AgentTest", "DetectorTest", "FakeHost"]
