from ideogram_async import Observation


class HalfOfWhatRemains:
    # Trusts the percentage, and never sleeps longer than 10 s.

    def start(self, now: float, *, just_submitted: bool) -> tuple[float, float]:
        return now, 2.0 if just_submitted else 0.0

    def next_delay(self, state: float, seen: Observation) -> float:
        done = seen.record.completion_percentage or 0
        if not 0 < done < 100:
            return 2.0
        left = (seen.asked - state) * (100 - done) / done
        return min(max(left / 2, 0.2), 10.0)

    def completed(self, state: float, seen: Observation) -> None:
        pass

    def expected_end(self, state: float) -> float | None:
        return None
