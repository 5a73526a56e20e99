"""What happens to callbacks between the gateway and the application: lost, doubled, overtaken by the next one.

How often that happens is not known, so the shares are among the unknowns. Which callbacks are affected is drawn from a
seeded source, in the order in which statuses change.
"""

from __future__ import annotations

from random import Random

import attrs

from smspilot_async.emulator._callbacks import CallbackCall
from smspilot_async.emulator.gateway._messages import FINAL
from smspilot_async.emulator.gateway._unknowns import Unknowns


@attrs.define
class CallbackFaults:
    """Turns each call that is due into those that are made now."""

    _unknowns: Unknowns
    _random: Random
    _late: dict[str, list[CallbackCall]] = attrs.Factory(dict)

    def calls_now(self, call: CallbackCall) -> list[CallbackCall]:
        """Return the calls to make, in order; a late one waits for its message's next one."""
        unknowns, point = self._unknowns, self._random.random()
        overtaken = self._late.pop(call.server_id, [])
        if point < unknowns.callbacks_lost:
            return overtaken
        point -= unknowns.callbacks_lost
        if point < unknowns.callbacks_doubled:
            return [call, call, *overtaken]
        point -= unknowns.callbacks_doubled
        if point < unknowns.callbacks_late and call.status not in FINAL:  # after a final one nothing comes
            self._late[call.server_id] = [call]
            return overtaken
        return [call] * (1 + unknowns.callbacks_repeated) + overtaken
