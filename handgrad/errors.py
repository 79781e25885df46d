"""A mistake of the person at the keyboard: where, what, and the cure."""


class UserError(Exception):
    """Something a person can mend; printed as one line, never as a traceback.

    The parts stay attributes so that tests and `--json` output need not parse prose.
    """

    def __init__(self, where: str, fact: str, cure: str) -> None:
        super().__init__(f"{where}: {fact}. {cure}")
        self.where = where
        self.fact = fact
        self.cure = cure

    def __reduce__(self) -> tuple[type["UserError"], tuple[str, str, str]]:
        """Travel between processes by its parts; an exception is otherwise made from its sentence."""
        return type(self), (self.where, self.fact, self.cure)


class LostError(Exception):
    """A process that was to do something is gone: nobody's fault, and another try may work."""


class TooLongError(LostError):
    """It took longer than it may: it would again, and keep others waiting for as long."""
