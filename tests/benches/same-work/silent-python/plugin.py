"""Says nothing."""

from salve_plugin import Detector, plugin


@plugin
class Silent(Detector):
    def observe(self, batch):
        return None
