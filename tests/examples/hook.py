from ideogram_async import Event, QueryAnswered, RequestEnded, SessionChanged


class Figures:
    # Counts what happens, and prints which key is out of use.

    def __init__(self) -> None:
        self.failed = self.ended = 0
        self.seconds = 0.0

    def __call__(self, event: Event) -> None:
        match event:
            case QueryAnswered(asked=asked, answered=answered):
                self.seconds += answered - asked
            case RequestEnded(error=error):
                self.ended += 1
                self.failed += error is not None
            case SessionChanged(state="refused", session=index, reason=reason):
                print(f"key {index} is out of use: {reason}")
