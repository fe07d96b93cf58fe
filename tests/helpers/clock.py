"""A clock that stands still but for sleeping, which takes no time."""

import time


class Clock:
    """Takes the place of module `time`; `waits` gathers all sleeps, seconds."""

    strftime, localtime = staticmethod(time.strftime), staticmethod(time.localtime)

    def __init__(self):
        self.now, self.waits = time.time(), []

    def time(self):
        return self.now

    def sleep(self, seconds):
        if seconds:
            self.waits.append(seconds)
        self.now += seconds
