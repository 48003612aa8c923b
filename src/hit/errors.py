"""What can go wrong because of what a user gave us, as one type with three parts."""


class UserError(Exception):
    """Input that the program cannot work with: what it is, why not, and what to do about it.

    Every door prints it as one line: the command line on stderr with its exit code, the API as a 4xx problem. Anything
    else that is raised is a defect of ours and keeps its traceback.
    """

    code = 2

    def __init__(self, what: object, why: str, fix: str = "") -> None:
        self.what, self.why, self.fix = str(what), why, fix
        super().__init__(f"{self.what}: {why}" + (f" ({fix})" if fix else ""))

    def __reduce__(self) -> tuple[type["UserError"], tuple[str, str, str]]:
        # The default would call __init__ with the joined message; worker processes send errors by pickle.
        return type(self), (self.what, self.why, self.fix)


class EndedError(UserError):
    """Work that was told to end (SIGTERM) and can be gone on with."""

    code = 143


class AwayError(UserError):
    """A server that the library needs is not there just now: what was asked for may be asked for again soon."""


class NotFoundError(UserError):
    """Something that was named is not there."""
